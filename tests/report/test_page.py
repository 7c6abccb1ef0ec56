"""The page: its numbers are the document's, it loads nothing, and nobody's name becomes markup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.state import Phase
from serving.rollout.report import words
from serving.rollout.report.build import build
from serving.rollout.report.document import Report
from serving.rollout.report.drawing import png, svg
from serving.rollout.report.figures import plots
from serving.rollout.report.page import page
from serving.rollout.report.resource import Resource

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HOSTILE = "</title><script>alert(1)</script>\" onload='x' $\\frac$ &amp;"


class Read(HTMLParser):
    """What a browser would make of the page: tags with attributes, and the numbers in <data>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self._value: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "path", "use", "rect"):
            self.open.append(tag)
        self._value = dict(attrs).get("value") if tag == "data" else None

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._value is not None:
            self.numbers.append((self._value, data))
            self._value = None


def numbers_of(document: Any) -> Iterator[float]:
    match document:
        case bool():
            return
        case int() | float():
            yield float(document)
        case dict():
            for each in document.values():
                yield from numbers_of(each)
        case list():
            for each in document:
                yield from numbers_of(each)


def test_every_number_on_the_page_is_the_documents(written: tuple[str, Report, str]) -> None:
    name, report, text_of_page = written
    known = set(numbers_of(json.loads(report.to_json())))
    shown = Read(text_of_page).numbers
    assert len(shown) >= (3 if name == "noData" else 40)
    for value, text in shown:
        assert float(value) in known, (value, text)
        number = float(value)
        ways = {words.percent(number), words.percent(number, sign=False), words.number(number), words.chance(number)}
        ways.add(words.signed(number))
        assert text in ways | {f"{number:g} %", *(each.value_text for each in report.limits)} | {
            each.limit_text for each in report.limits
        }


def test_every_sentence_of_the_document_is_on_the_page(written: tuple[str, Report, str]) -> None:
    _, report, text = written
    read = "".join(Read(text).text)
    said = [report.verdict.headline, *report.verdict.because, *report.would_change]
    said += [each.words for each in report.how] + [each.message for each in report.log]
    said += [*report.doubts, *report.missing, *(report.progress.said if report.progress else ())]
    for sentence in said:
        assert sentence in read


def test_the_page_loads_nothing_and_runs_nothing(written: tuple[str, Report, str]) -> None:
    text = written[2]
    read = Read(text)
    assert read.open == []
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base"})
    for _, attributes in read.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "src"
            if name.endswith("href"):
                assert value is not None
                assert value.startswith("#")
    assert "@import" not in text
    assert all(each.startswith("#") for each in re.findall(r"url\(['\"]?(.)", text))
    assert "default-src 'none'" in text


def test_ids_are_unique_and_every_reference_has_one(tell: Callable[[str], Resource], evidence: Evidence) -> None:
    read = Read(page(build(tell("win"), NOW, evidence)))
    ids = [str(attributes["id"]) for _, attributes in read.tags if "id" in attributes]
    assert len(ids) > 50
    assert len(set(ids)) == len(ids)
    links = {str(value)[1:] for _, attributes in read.tags for name, value in attributes.items() if "href" in name}
    assert links <= set(ids)


def test_every_plot_has_words_that_say_the_same(tell: Callable[[str], Resource], evidence: Evidence) -> None:
    report = build(tell("win"), NOW, evidence)
    drawn = plots(report)
    assert [each.name for each in drawn] == [
        "progress", "lift", "cumulative", "sizes", "guardrails", "metrics", "weekdays", "days",
    ]  # fmt: skip
    labels = [attributes["aria-label"] for tag, attributes in Read(page(report, drawn)).tags if tag == "svg"]
    assert labels == [each.words for each in drawn]
    assert "+25.2 % at the newest of 14 looks" in drawn[1].words


def test_plots_follow_the_pages_colours(tell: Callable[[str], Resource]) -> None:
    for each in plots(build(tell("win"), NOW)):
        colours = set(re.findall(r"#[0-9a-f]{6}\b", svg(each)))
        assert colours <= {"#000000", "#ffffff"}, colours


def test_the_same_document_draws_the_same_pictures(tell: Callable[[str], Resource]) -> None:
    report = build(tell("guardrail"), NOW)
    again = Report.model_validate_json(report.to_json())
    assert page(report) == page(again)
    first, second = plots(report)[:2], plots(again)[:2]
    for one, other in zip(first, second, strict=True):
        assert png(one) == png(other)
        assert png(one).startswith(b"\x89PNG")


def test_hostile_names_are_text(tell: Callable[[str], Resource]) -> None:
    report = build(tell("guardrail"), NOW)
    metrics = tuple(each.model_copy(update={"name": HOSTILE, "judged": HOSTILE}) for each in report.metrics)
    limits = tuple(each.model_copy(update={"name": HOSTILE, "detail": HOSTILE}) for each in report.limits)
    log = tuple(each.model_copy(update={"message": HOSTILE, "reason": HOSTILE}) for each in report.log)
    verdict = report.verdict.model_copy(update={"headline": HOSTILE, "because": (HOSTILE,)})
    changes = {"metrics": metrics, "limits": limits, "log": log, "verdict": verdict, "bundle": HOSTILE}
    made = report.model_copy(update={**changes, "experiment": HOSTILE, "namespace": HOSTILE, "given_reason": HOSTILE})
    read = Read(page(made))
    assert "script" not in {tag for tag, _ in read.tags}
    assert all(not name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert "".join(read.text).count(HOSTILE) >= 8


def test_a_report_without_looks_says_so(remade: Callable[..., Resource], stated: Callable[..., Any]) -> None:
    text = page(build(remade(stated(Phase.SHADOW)), NOW))
    assert "There was no look at the metrics" in text
    assert "<svg" in text  # guardrails are read in the shadow too
    assert "No users were counted" in text
    assert "Nothing was decided yet" in page(build(remade(None), NOW))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0002, "+0.02 %"), (-0.01834, "−1.83 %"), (0.0, "0 %"), (12.5, "+1,250 %"), (None, "–"), (float("inf"), "–")],
)
def test_percents_keep_three_digits(value: float | None, text: str) -> None:
    assert words.percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "30 seconds"), (2700, "45 minutes"), (3600, "1 hour"), (86_400, "1 day"), (302_400, "3.5 days")],
)
def test_lengths_of_time_are_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert words.time(timedelta(seconds=seconds)) == text
