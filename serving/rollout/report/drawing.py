"""Plots as bytes: PNG on white, SVG that takes the page's colours."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib as mpl

from serving.rollout.report import figures
from serving.rollout.report.figures import Plot

_COLOURS = {
    figures.INK: "var(--ink)",
    figures.SOFT: "var(--soft)",
    figures.LINE: "var(--line)",
    figures.ACCENT: "var(--accent)",
    figures.UP: "var(--up)",
    figures.DOWN: "var(--down)",
}
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_DOTS_PER_INCH = 160


def png(plot: Plot) -> bytes:
    """A picture for slides and chats; the same document gives the same bytes."""
    raw = io.BytesIO()
    plot.figure.savefig(raw, format="png", dpi=_DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return raw.getvalue()


def svg(plot: Plot) -> str:
    """An `<svg>` to be placed into a page: its colours are the page's variables, its ids its own."""
    raw = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": plot.name, "font.family": "sans-serif"}):
        plot.figure.savefig(raw, format="svg", metadata=_NO_METADATA)
    text = raw.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, variable)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{plot.name}-", text)
    text = re.sub(r"font: ([0-9.]+px) [^;\"]+", r"font: \1 system-ui, sans-serif", text)
    text = re.sub(r' (width|height)="[0-9.]+pt"', "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(plot.words)}"', 1)
