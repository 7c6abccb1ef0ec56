"""A story told with real servers: two Tritons, the transformer, the collector, and the controller's own code."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from serving.replay.demonstration import Demonstration, rehearsal_row
from serving.replay.live.stage import Told, tell_live
from serving.replay.material import Material, material
from serving.replay.page import RehearsalRow, StoryRow, write_page
from serving.replay.story import story
from serving.rollout.experiment.state import Phase
from training.demo.build import Size

pytestmark = pytest.mark.timeout(400)
SMALL = Size(users=160, items=100, interactions=8000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replay")


@pytest.fixture(scope="module")
def made(folder: Path) -> Material:
    return material(folder / "material", lambda text: None, SMALL)


@pytest.fixture(scope="module")
def told(made: Material, folder: Path) -> Told:
    (folder / "told").mkdir()
    return tell_live(story("broken"), 1, made, folder / "told", users=600)


def test_a_candidate_that_dies_is_rolled_back_and_every_request_is_answered(told: Told) -> None:
    telling = told.telling
    assert (telling.state.phase, telling.as_it_must) == (Phase.ROLLED_BACK, True)
    assert telling.broken > 0
    assert telling.unanswered == 0
    assert telling.rankings > 1000


def test_the_collector_knows_every_exposure_and_what_was_clicked(told: Told) -> None:
    moments = told.evidence.moments
    assert min(told.evidence.exposed.values()) > 10
    for arm in ("stable", "candidate"):
        mean = dict(zip(moments[arm].columns, moments[arm].mean().tolist(), strict=True))
        assert mean["exposure_count"] >= 1
        assert 2 < mean["click_sum"] / mean["exposure_count"] < 12
    assert told.evidence.quality.switched == 0


def test_the_servers_are_gone(told: Told, folder: Path) -> None:
    ports = [line for line in (folder / "told" / "transformer.log").read_text().splitlines() if "REST on" in line]
    assert ports
    address = ports[0].split("REST on ")[1].split(",")[0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{address}/v2/health/live", timeout=2)


def test_the_page_shows_what_the_stories_show(told: Told, folder: Path) -> None:
    row = StoryRow(told.telling.story, told.telling, told.telling.state.looks[-1].primary, "broken/report.html")
    many = [rehearsal_row(told.telling.story, [told.telling, told.telling])]
    text = write_page(folder / "index.html", [row], many).read_text()
    assert "A candidate whose Triton dies" in text
    assert 'href="broken/report.html"' in text
    assert "2 of 2" in text
    assert f"{told.telling.rankings:,}" in text
    assert many[0].within


def test_a_story_that_ends_wrong_is_named(told: Told) -> None:
    wrong = replace(told.telling, story=story("harm"))
    row = StoryRow(wrong.story, wrong, None, "")
    shown = Demonstration(Path("index.html"), [row], [rehearsal_row(wrong.story, [wrong])])
    assert shown.failures == ["harm", "harm (rehearsed)"]


def test_an_a_a_may_be_wrong_as_often_as_alpha_says() -> None:
    def row(right: int) -> RehearsalRow:
        return RehearsalRow(story("a-a"), 200, right, {}, 14.0, None, 0, 0)

    assert (row(200).within, row(185).within, row(175).within) == (True, True, False)
