"""The demo's page in a real browser: at the width of a telephone nothing is cut off, and scores are in sight."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from serving.stack.encoded import Encoded, Piece
from serving.stack.lift_view import COLUMNS, NamedCells, SplitView
from serving.stack.page import DemoPage, Film, RankedFilm, UserPanel

MEASURE = """<iframe id="f" width="390" height="2000" srcdoc="{page}"></iframe><pre id="out"></pre><script>
f.onload = () => {{
  const inside = f.contentDocument, cells = [...inside.querySelectorAll(".ranking td.n")];
  const scores = cells.filter(c => /^0[.][0-9]{{4}}$/.test(c.textContent.trim())).map(c => c.getBoundingClientRect());
  const wide = inside.documentElement.scrollWidth;
  out.textContent = `RESULT ${{scores.length}} ${{Math.max(...scores.map(r => Math.round(r.right)))}} ${{wide}}`;
}};
</script>"""


@pytest.fixture
def page(tmp_path: Path) -> str:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "poster.png")
    pieces = [Piece(f"▁word{number}", str(1000 + number)) for number in range(20)]
    film = Film(
        "A Film (1997)", "Comedy", tmp_path / "poster.png", "a <b> caption", Encoded(pieces, ["▁a"], ["▁z"]), True
    )
    lift = SplitView("New items", COLUMNS, [NamedCells("ranker with captions", ["0.7"] * 5)], "higher", [], [])
    panel = UserPanel("2", "age 53", [film], [RankedFilm(film, 0.93, 0.84, 1, 3, True)])
    DemoPage([panel], 5, [lift], {"contract": "sha256:" + "0" * 64}, {"curl": "curl " + "x" * 300}, {}).write(
        tmp_path / "p.html"
    )
    return (tmp_path / "p.html").read_text()


def test_the_page_has_dark_colours_and_says_what_was_dropped(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"background: #fff", page)
    assert "repeated, encoded once: <s>▁a</s>" in page
    assert "beyond the last token that counts: <s>▁z</s>" in page
    assert "a &lt;b&gt; caption" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium: apt-get install chromium")
def test_scores_are_in_sight_at_390_pixels(page: str, tmp_path: Path) -> None:
    (tmp_path / "frame.html").write_text(MEASURE.format(page=html.escape(page, quote=True)))
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        *quiet,
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    shown = subprocess.run(
        [*command, "--virtual-time-budget=5000", "--dump-dom", f"file://{tmp_path / 'frame.html'}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+)", shown)
    assert found is not None, shown[-500:]
    scores, right, width = map(int, found.groups())
    assert scores == 2
    assert right <= 390
    assert width <= 390
