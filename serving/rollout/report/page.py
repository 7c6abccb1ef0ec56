"""The report as one HTML file: no script, nothing loaded from anywhere, its plots inside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from serving.rollout.report import words
from serving.rollout.report.document import End, Report
from serving.rollout.report.drawing import svg
from serving.rollout.report.figures import Plot, plots

_TONES = {
    End.WIN: "good",
    End.HARM: "bad",
    End.GUARDRAIL: "bad",
    End.RATIO: "bad",
    End.NO_DATA: "bad",
    End.FAILED: "bad",
    End.REJECTED: "bad",
}
"""Colour of the verdict; the words say it too."""


def page(report: Report, drawn: Sequence[Plot] | None = None) -> str:
    """The page. Every number in it is one of the document's, in a `<data>` that holds it exactly.

    Args:
        drawn: the report's plots, if they were drawn already.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": lambda value: _data(value, words.percent(value)),
        "share": lambda value: _data(value, words.percent(value, sign=False)),
        "points": lambda value: _data(value, f"{value:g} %" if value is not None else words.NOTHING),
        "signed": lambda value: _data(value, words.signed(value)),
        "number": lambda value: _data(value, words.number(value)),
        "chance": lambda value: _data(value, words.chance(value)),
        "as": _data,
        "clock": _clock,
    }
    pictures = {each.name: (each, Markup(svg(each))) for each in (plots(report) if drawn is None else drawn)}
    tone = "open" if report.doubts and report.verdict.end is End.WIN else _TONES.get(report.verdict.end, "open")
    return environment.get_template("page.html.j2").render(report=report, pictures=pictures, tone=tone)


def _data(value: Any, text: str) -> Markup | str:
    """A number with its exact value beside what is shown."""
    if value is None:
        return text
    return Markup("<data value='{}'>{}</data>").format(repr(value), text)


def _clock(at: datetime | None) -> str:
    return words.NOTHING if at is None else at.strftime("%Y-%m-%d %H:%M UTC")
