"""A story from its first visit to its end, on a simulated clock, by the controller's own code.

The clock moves as the controller asks: from step to step of `reconcile`, by the time that it wants to wait. In between
the visits of that time are served, clicked and recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from models.experiments.assignment import Assignment
from serving.replay.population import DAY, Ints, Taste, Users, Visits
from serving.replay.readings import ServedReadings
from serving.replay.served import Served, Serving
from serving.replay.story import Story
from serving.replay.terms import BEFORE_DAYS, START, VISIT_DAYS
from serving.rollout.experiment.decide import begin
from serving.rollout.experiment.reconcile import reconcile
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Phase, State
from serving.rollout.experiment.world import World


@dataclass
class SimulatedClock:
    """Time as the replay sets it, in seconds since START."""

    seconds: float = 0.0

    def now(self) -> datetime:
        """The time now."""
        return START + timedelta(seconds=self.seconds)


class Recorder(Protocol):
    """Who keeps what was seen, for the controller to ask."""

    def record(self, which: slice, served: Served, clicks: Ints) -> None:
        """Rankings that were given out and what was clicked of them."""
        ...


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who comes, when, and what they like."""

    users: Users
    visits: Visits
    taste: Taste


@dataclass
class Telling:
    """How a story went. `broken` counts rankings for which the candidate failed and stable answered."""

    story: Story
    seed: int
    uid: str
    state: State
    days: float = 0.0
    rankings: int = 0
    of_candidate: int = 0
    broken: int = 0
    unanswered: int = 0
    fault_to_end_hours: float | None = None
    exposed: tuple[int, int] = field(default=(0, 0))

    @property
    def as_it_must(self) -> bool:
        """Whether it ended as the story must, and for a right reason."""
        return self.state.phase is self.story.ends and self.state.reason in self.story.reasons


def tell(
    story: Story,
    seed: int,
    crowd: Crowd,
    spec: ExperimentSpec,
    serving: Serving,
    recorder: Recorder,
    readings: ServedReadings,
    world: World,
    clock: SimulatedClock,
    published: Callable[[], Assignment | None],
    break_it: Callable[[], None] = lambda: None,
) -> Telling:
    """Run the story to its end. `break_it` is called once, when its fault begins."""
    teller = _Teller(story, crowd, serving, recorder, readings)
    teller.serve(-BEFORE_DAYS * DAY, 0.0, None)
    uid, state, broken = f"{story.name}-{seed}", None, False
    telling = Telling(story, seed, uid, begin(story.name, uid, clock.now()))

    def save(kept: State) -> None:
        telling.state = kept

    while clock.seconds < VISIT_DAYS * DAY:
        step = reconcile(story.name, uid, spec, state, world, save)
        state = telling.state = step.state
        if step.wait is None:
            break
        until = clock.seconds + max(step.wait.total_seconds(), 1.0)
        if not broken and until > story.fault_day * DAY:
            break_it()
            broken = True
        teller.serve(clock.seconds, until, published())
        clock.seconds = until
    return teller.told(telling, clock)


class _Teller:
    """Serves stretches of visits and counts."""

    def __init__(
        self, story: Story, crowd: Crowd, serving: Serving, recorder: Recorder, readings: ServedReadings
    ) -> None:
        self._story, self._crowd, self._serving = story, crowd, serving
        self._recorder, self._readings = recorder, readings
        self._rankings = self._of_candidate = self._broken = self._unanswered = 0

    def serve(self, start: float, end: float, assignment: Assignment | None) -> None:
        """Everything that happens from `start` to before `end`."""
        which = self._crowd.visits.between(start, end)
        if which.start == which.stop:
            return
        served = self._serving.serve(which, assignment)
        clicks = self._crowd.taste.clicks(self._crowd.users, self._crowd.visits, which, served.shown)
        self._recorder.record(which, served, clicks)
        self._readings.add(self._crowd.visits.time[which], served)
        self._rankings += len(served.arm)
        self._of_candidate += int((served.arm == 1).sum())
        self._broken += int(served.failed.sum())
        self._unanswered += served.unanswered

    def told(self, telling: Telling, clock: SimulatedClock) -> Telling:
        """What there is to tell."""
        state = telling.state
        telling.days = clock.seconds / DAY
        telling.rankings, telling.of_candidate = self._rankings, self._of_candidate
        telling.broken, telling.unanswered = self._broken, self._unanswered
        if state.looks:
            telling.exposed = state.looks[-1].exposed
        stopped = next((each.at for each in state.log if each.reason == state.reason), None)
        if state.phase is Phase.ROLLED_BACK and self._story.fault_day and stopped is not None:
            telling.fault_to_end_hours = (stopped - START).total_seconds() / 3600 - self._story.fault_day * 24
        return telling
