"""The page over all stories: what was planted, how each ended, and how often it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from scipy.stats import binom

from models.files import write_atomic
from serving.replay.run import Telling
from serving.replay.story import Story
from serving.rollout.experiment.state import Estimate, Phase

ALPHA = 0.05
_SURE = 0.001
"""An A/A may end with a difference as often as alpha says; more often than this chance allows is a fault."""


@dataclass(frozen=True, slots=True)
class StoryRow:
    """A story that was told with real servers."""

    story: Story
    telling: Telling
    lift: Estimate | None
    report: str

    @property
    def as_it_must(self) -> bool:
        """Whether it ended as it must."""
        return self.telling.as_it_must

    @property
    def interval(self) -> str:
        """The lift with its interval."""
        return "no look" if self.lift is None else shown(self.lift)


@dataclass(frozen=True, slots=True)
class RehearsalRow:
    """A story that was told by table, `count` times."""

    story: Story
    count: int
    as_it_must: int
    ends: Mapping[str, int]
    median_days: float
    median_hours_to_rollback: float | None
    most_broken: int
    unanswered: int

    @property
    def within(self) -> bool:
        """Whether it ended as it must as often as it must: always, and an A/A at least as often as 1 - alpha says."""
        if self.story.ends is not Phase.INCONCLUSIVE:
            return self.as_it_must == self.count
        return bool(binom.sf(self.count - self.as_it_must - 1, self.count, ALPHA) > _SURE)

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        return ", ".join(f"{count} {end}" for end, count in self.ends.items())


def shown(estimate: Estimate) -> str:
    """A lift with its interval, in percent."""
    if estimate.relative is None:
        return estimate.because
    if estimate.low is None or estimate.high is None:
        return f"{estimate.relative:+.1%}, no interval yet"
    return f"{estimate.relative:+.1%} [{estimate.low:+.1%}, {estimate.high:+.1%}]"


def write_page(path: Path, live: Sequence[StoryRow], rehearsed: Sequence[RehearsalRow]) -> Path:
    """Write the page, whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("serving.replay", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("page.html.j2").render(live=live, rehearsed=rehearsed)
    write_atomic(path, text.encode())
    return path
