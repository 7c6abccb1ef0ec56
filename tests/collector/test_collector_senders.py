"""Who sent an outcome is stored and asked for: false ones are named, and no result rests on them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.rollout.collector.schema import FILE, open_for_writing
from serving.rollout.evidence.codec import evidence_from_json, evidence_to_json
from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.experiment.analysis import analyse
from serving.rollout.experiment.evidence import BySender, Evidence
from serving.rollout.experiment.observe import evidence_query
from serving.rollout.experiment.senders import UNNAMED
from serving.rollout.experiment.state import Look, Outcome, Phase, State
from serving.rollout.report.build import build
from serving.rollout.report.page import page
from serving.rollout.report.resource import Resource
from tests.collector.book import BEGAN, HOUR, QUERY, Book
from tests.collector.naive import Did, Seen
from tests.collector.process import KEY, TOKENS, Process
from tests.collector.sent import UID, exposure, outcome
from tests.collector.test_collector_evidence import world
from tests.experiments_life.worlds import spec_of

END = datetime.fromtimestamp(BEGAN + 60 * HOUR, UTC)
SPEC = spec_of(
    primaryMetric={"name": "sales", "numerator": {"event": "purchase", "aggregate": "count"}, "cuped": False}
)
STATE = State(since=END, salt="s", watched=12 * HOUR)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path)
    yield made
    made.connection.close()


def shown(users: int) -> list[Seen | Did]:
    return [Seen(f"e{n}", f"user {n}", ("stable", "candidate")[n % 2], BEGAN) for n in range(users)]


def sold(name: str, users: range) -> list[Seen | Did]:
    """A purchase of every such user."""
    return [Did(f"{name}{n}", f"user {n}", "purchase", BEGAN + 60, 1.0, BEGAN + 61) for n in users]


def asked(book: Book) -> Evidence:
    return book.evidence(evidence_query("captions", "u", SPEC, STATE, END))


def looked(evidence: Evidence) -> Look:
    return analyse(SPEC, evidence, STATE, END)


def test_false_outcomes_that_would_turn_equal_arms_into_a_win_are_named_and_promote_nothing(book: Book) -> None:
    """The attack: 400 outcomes for users of the candidate, by the token of one of two senders."""
    book.send([*shown(2000), *sold("shop", range(560))])
    assert looked(asked(book)).outcome is Outcome.PENDING
    book.send(sold("false", range(1001, 1801, 2)), sender="partner")
    found = asked(book)
    assert looked(replace(found, senders=())).outcome is Outcome.WIN
    look = looked(found)
    assert look.outcome is Outcome.PENDING
    (doubt,) = look.doubts
    assert "sender `partner` are unlike all others' (0 `purchase` in stable and 400 in the candidate" in doubt
    assert "all others 280 and 280" in doubt
    assert "without them `sales` would not speak for the candidate" in doubt
    assert {each.name: each.outcomes["purchase"] for each in look.senders} == {"partner": (0, 400), "shop": (280, 280)}


def test_the_report_shows_who_sent_what_and_its_verdict_names_the_sender(book: Book) -> None:
    book.send([*shown(2000), *sold("shop", range(560))])
    book.send(sold("false", range(1001, 1801, 2)), sender="partner")
    kept = STATE.model_copy(update={"phase": Phase.RUNNING, "looks": (looked(asked(book)),), "started": SPEC})
    report = build(Resource("captions", "shop", "u", END, SPEC, kept, ""), END)
    assert {(each.name, each.event, each.stable, each.candidate, each.unlike) for each in report.senders} == {
        ("partner", "purchase", 0, 400, True),
        ("shop", "purchase", 280, 280, True),
    }
    assert "sender `partner`" in " ".join(report.verdict.because)
    text = page(report)
    assert "Who sent the outcomes" in text
    assert ">partner<" in text


def test_two_honest_senders_and_a_real_effect_are_a_win_without_a_word(book: Book) -> None:
    stable, candidate = range(0, 500, 2), range(1, 900, 2)
    few, many = range(0, 100, 2), range(1, 180, 2)
    book.send([*shown(2000), *sold("a", stable), *sold("b", candidate)], sender="shop")
    book.send([*sold("c", few), *sold("d", many)], sender="app")
    look = looked(asked(book))
    assert (look.outcome, look.doubts, look.unlike) == (Outcome.WIN, (), ())
    assert {each.name for each in look.senders} == {"app", "shop"}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_without_a_sender_is_what_would_be_had_it_sent_nothing(seed: int, tmp_path: Path) -> None:
    events = world(seed)
    done = [each for each in events if isinstance(each, Did)]
    halves = {"a": done[::3], "b": done[1::3], "c": done[2::3]}
    with closing(Book(_folder(tmp_path, "all")).connection):
        whole = _told(tmp_path / "every", events, halves)
    assert [each.name for each in whole.senders] == ["a", "b", "c"]
    for each in whole.senders:
        rest = {name: half for name, half in halves.items() if name != each.name}
        assert each.without == _told(tmp_path / f"no {each.name}", events, rest).moments
        alone = _told(tmp_path / f"only {each.name}", events, {each.name: halves[each.name]}).moments
        for arm in QUERY.arms:
            own = each.parts[arm].only(["own:click_count"])
            assert (own.sums, own.products) == ((only := alone[arm].only(["click_count"])).sums, only.products)
    assert evidence_from_json(evidence_to_json(whole)) == whole


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def _told(folder: Path, events: list[Seen | Did], by: dict[str, list[Did]]) -> Evidence:
    folder.mkdir()
    book = Book(folder)
    with closing(book.connection):
        book.send([each for each in events if isinstance(each, Seen)])
        for name, done in by.items():
            book.send(list(done), sender=name)
        return book.evidence(replace(QUERY, caps={"purchase_sum": 40.5}))


def test_a_repeat_by_another_sender_is_the_first_ones_outcome(book: Book) -> None:
    book.send([*shown(4), *sold("o", range(4))])
    book.send(sold("o", range(4)), sender="partner")
    assert asked(book).senders == ()
    assert asked(book).quality.duplicates == 4


def test_a_database_from_before_senders_is_read_and_its_outcomes_have_no_name(tmp_path: Path) -> None:
    made = Book(tmp_path)
    made.send([*shown(8), *sold("old", range(4))])
    made.connection.executescript(
        "DROP INDEX outcomes_of_user; ALTER TABLE outcomes DROP COLUMN sender; DROP TABLE senders; DROP TABLE sent;"
        "CREATE INDEX outcomes_of_user ON outcomes (user, event, time, value, received, repeats);"
    )
    made.connection.close()
    with closing((book := Book(tmp_path)).connection):
        assert asked(book).senders == ()
        book.send(sold("new", range(2, 8)))
        found = asked(book)
        assert [(each.name, _counts(each)) for each in found.senders] == [("", (2, 2)), ("shop", (3, 3))]
        assert [each.name for each in looked(found).senders] == [UNNAMED, "shop"]
    with closing(open_for_writing(tmp_path, KEY.encode())):
        assert (tmp_path / FILE).stat().st_size


def _counts(each: BySender) -> tuple[int, int]:
    left, right = (int(each.parts[arm].only(["own:purchase_count"]).totals()[0]) for arm in ("stable", "candidate"))
    return left, right


def test_the_name_of_the_token_is_the_senders(collector: Callable[..., Process]) -> None:
    tokens = {"shop": "a-token-of-the-shop", "partner": "a-token-of-the-partner"}
    lines = "\n".join(f"{name} {token}" for name, token in tokens.items())
    process = collector(SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN=lines)
    now = datetime.now(UTC)
    began = (now - timedelta(hours=3)).timestamp()
    arms = {"ann": "stable", "bob": "candidate"}
    seen = [exposure(f"e-{user}", user, began, key=KEY, arm=arm) for user, arm in arms.items()]
    with process.client() as client:
        answer = client.post("/v1/exposures", json=seen, headers={"content-type": "application/cloudevents-batch+json"})
        assert answer.json()["stored"] == 2
        for user, (name, token) in zip(arms, tokens.items(), strict=True):
            done = [outcome(f"o-{name}", user, began + 5, event="purchase", value=3.0)]
            answer = client.post("/v1/outcomes", json=done, headers={"authorization": f"Bearer {token}"})
            assert answer.json()["stored"] == 1, answer.text
    source = CollectorEvidence(process.url, token=TOKENS["evidence"])
    found = source.evidence(evidence_query("captions", UID, SPEC, STATE, now))
    source.close()
    assert [(each.name, _counts(each)) for each in found.senders] == [("partner", (0, 1)), ("shop", (1, 0))]
