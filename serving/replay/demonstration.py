"""The six stories once with real servers, each with its report, then with many crowds by table; and a page over all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from serving.replay.live.stage import Told, tell_live
from serving.replay.material import Material, material
from serving.replay.page import RehearsalRow, StoryRow, write_page
from serving.replay.rehearsal import Tables, rehearse_many
from serving.replay.run import Telling
from serving.replay.story import Story
from serving.rollout.experiment.state import Estimate
from serving.rollout.report.build import build
from serving.rollout.report.folder import PAGE, write
from serving.rollout.report.resource import Resource

Say = Callable[[str], None]
Report = Callable[[str, int, int], None]
"""Takes (step, done, of)."""


@dataclass(frozen=True)
class Demonstration:
    """What was told: `live` stories in order, and per story how its rehearsals ended."""

    page: Path
    live: Sequence[StoryRow]
    rehearsed: Sequence[RehearsalRow]

    @property
    def failures(self) -> list[str]:
        """Stories that did not end as they must; rehearsals of an A/A may be wrong as often as alpha says."""
        wrong = [row.story.name for row in self.live if not row.as_it_must]
        return wrong + [f"{row.story.name} (rehearsed)" for row in self.rehearsed if not row.within]


def demonstrate(
    folder: Path, stories: Sequence[Story], *, seeds: int, users: int, workers: int, say: Say, report: Report
) -> Demonstration:
    """Tell everything. `folder` keeps the material for the next time, the reports and the servers' logs.

    Raises:
        StackError: a server does not start, or does not do its part.
    """
    made = material(folder / "material", say)
    live = []
    for place, story in enumerate(stories):
        report("stories with real servers", place, len(stories))
        live.append(_live(story, made, folder, users))
    report("stories with real servers", len(stories), len(stories))
    rehearsed = _rehearsed(stories, made, seeds, workers, report) if seeds else []
    page = write_page(folder / "index.html", live, rehearsed)
    return Demonstration(page, live, rehearsed)


def _live(story: Story, made: Material, folder: Path, users: int) -> StoryRow:
    place = folder / story.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    told = tell_live(story, 1, made, place, users)
    report = place / "report"
    write(build(_resource(told), told.ended, told.evidence), report)
    return StoryRow(story, told.telling, _lift(told.telling), f"{story.name}/report/{PAGE}")


def _resource(told: Told) -> Resource:
    telling = told.telling
    return Resource(telling.story.name, "replay", telling.uid, telling.state.since, told.spec, telling.state)


def _lift(telling: Telling) -> Estimate | None:
    return telling.state.looks[-1].primary if telling.state.looks else None


def _rehearsed(
    stories: Sequence[Story], made: Material, seeds: int, workers: int, report: Report
) -> list[RehearsalRow]:
    def done(told: int, of: int) -> None:
        report(f"stories by table, {seeds} crowds each", told, of)

    told = rehearse_many(stories, range(seeds), Tables.of(made), workers=workers, done=done)
    return [rehearsal_row(story, [each for each in told if each.story == story]) for story in stories]


def rehearsal_row(story: Story, told: Sequence[Telling]) -> RehearsalRow:
    """How often the story ended how, and how long it took."""
    ends = Counter(f"{each.state.phase}: {each.state.reason}" for each in told)
    late = [each.fault_to_end_hours for each in told if each.fault_to_end_hours is not None]
    return RehearsalRow(
        story,
        count=len(told),
        as_it_must=sum(each.as_it_must for each in told),
        ends=dict(ends.most_common()),
        median_days=median(each.days for each in told),
        median_hours_to_rollback=median(late) if late else None,
        most_broken=max(each.broken for each in told),
        unanswered=sum(each.unanswered for each in told),
    )
