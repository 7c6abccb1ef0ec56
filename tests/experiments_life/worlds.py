"""A world in memory for the controller: its ports, its faults, and what must never happen in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from models.experiments.assignment import Assignment, AssignmentBook
from serving.rollout.experiment.evidence import Evidence, EvidenceError, EvidenceQuery, Reading
from serving.rollout.experiment.ports import CandidateState, Readiness, RefusedError, RetryError, VerifiedBundle
from serving.rollout.experiment.reconcile import Step, reconcile
from serving.rollout.experiment.spec import Column, ExperimentSpec
from serving.rollout.experiment.state import State
from serving.rollout.experiment.world import World
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import CapRule, Caps

START = datetime(2026, 3, 2, tzinfo=UTC)
BUNDLE = VerifiedBundle("sha256:" + "b" * 64, "sha256:" + "c" * 64)
NAME, UID = "captions", "0b1c2d3e"


class KilledError(Exception):
    """The controller's process ended here."""


def spec_of(**changes: Any) -> ExperimentSpec:
    """A spec with short times; keys are dotted, `analysis__looks=3`."""
    document: dict[str, Any] = {
        "target": {"kind": "Deployment", "name": "ranker", "transformer": "transformer"},
        "candidate": {"bundle": "s3://models/ranker/7"},
        "schedule": {"stages": [{"share": 5, "hold": "1h"}, {"share": 50, "hold": "1h"}]},
        "primaryMetric": {"name": "clicks", "numerator": {"event": "click", "aggregate": "any"}, "cuped": False},
        "guardrails": [{"name": "failures", "kind": "failures", "limit": 0.01, "window": "2h"}],
        "analysis": {
            "plannedUsers": 20000,
            "minimumUsers": 200,
            "minimumTime": "6h",
            "maximumTime": "2d",
            "attributionWindow": "1h",
            "lookInterval": "1h",
            "noDataLimit": "2h",
        },
        "evidence": {"collector": "http://collector", "prometheus": "http://prometheus"},
        "promotion": "automatic",
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return ExperimentSpec.model_validate(document)


@dataclass
class ManualClock:
    """Time as it is set."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time


@dataclass
class MemoryBundles:
    refusal: str = ""
    verified: int = 0

    def verify(self, uri: str) -> VerifiedBundle:
        if self.refusal:
            raise RefusedError(self.refusal)
        self.verified += 1
        return BUNDLE


@dataclass
class MemoryCluster:
    """A candidate that is ready some looks after it was deployed; a promotion of some steps."""

    start_looks: int = 2
    promotion_steps: int = 3
    dead: bool = False
    failed: bool = False
    stable_bundle: str = "s3://models/ranker/6"
    other: str | None = None
    deploy_refusal: str = ""
    cold: RetryError | RefusedError | None = None
    """What warming meets."""
    promotion_refusal: str = ""
    deployed: bool = False
    looks: int = 0
    promoted_steps: int = 0
    warmed: int = 0
    newest: Readiness = Readiness.ABSENT

    def candidate(self) -> CandidateState:
        if not self.deployed:
            self.newest = Readiness.ABSENT
            return CandidateState(Readiness.ABSENT)
        self.looks += 1
        self.newest = Readiness.STARTING if self.dead or self.looks <= self.start_looks else Readiness.READY
        if self.failed:
            self.newest = Readiness.FAILED
        return CandidateState(self.newest, "ranker-candidate:9000", "pod 0 of 1")

    def deploy(self, bundle: VerifiedBundle) -> None:
        assert bundle == BUNDLE
        if self.deploy_refusal:
            raise RefusedError(self.deploy_refusal)
        self.deployed = True

    def warm(self) -> None:
        assert self.newest is Readiness.READY
        if self.cold is not None:
            raise self.cold
        self.warmed += 1

    def remove(self) -> None:
        self.deployed, self.looks = False, 0

    def promote(self) -> bool:
        if self.promotion_refusal:
            raise RefusedError(self.promotion_refusal)
        self.promoted_steps = min(self.promoted_steps + 1, self.promotion_steps)
        self.stable_bundle = "half" if self.promoted_steps < self.promotion_steps else "s3://models/ranker/7"
        return self.promoted_steps == self.promotion_steps

    def replaced(self) -> int:
        return self.promoted_steps

    def stable(self) -> str | None:
        return self.stable_bundle

    def rival(self) -> str | None:
        return self.other

    def promotion_hint(self) -> str:
        return "helm upgrade sightline --set model.uri=s3://models/ranker/7"


@dataclass
class MemoryAssignments:
    """The book, and all that was ever published in it."""

    book: AssignmentBook = field(default_factory=AssignmentBook)
    history: list[Assignment] = field(default_factory=list)
    watcher: Callable[[Assignment], None] = lambda _: None

    def published(self, uid: str) -> Assignment | None:
        return next((each for each in self.book.assignments if each.uid == uid), None)

    def publish(self, assignment: Assignment) -> None:
        there = self.book.of(assignment.model)
        if there is not None and there.uid != assignment.uid:
            raise RefusedError(f"experiment {there.experiment} has the model")
        self.watcher(assignment)
        self.history.append(assignment)
        self.book = self.book.put(assignment)

    def withdraw(self, uid: str) -> None:
        self.book = self.book.drop(uid)


@dataclass
class MemoryMetrics:
    """Users of each arm by the time they were met: so many an hour at a share of 100 %, clicking at set rates."""

    clock: ManualClock
    assignments: MemoryAssignments
    rate: float = 2000.0
    clicks: tuple[float, float] = (0.30, 0.40)
    loses: float = 0.0
    """Part of the candidate's exposures that the logger loses."""
    away: bool = False
    met: list[tuple[datetime, float]] = field(default_factory=list)
    asked: int = 0
    no_history: bool = False
    caps_asked: list[tuple[Any, ...]] = field(default_factory=list)

    def pass_time(self, hours: float) -> None:
        """Users come."""
        published = self.assignments.published(UID)
        if published is not None and published.share and published.everyone is None:
            self.met.append((self.clock.time, self.rate * hours * published.share / 10_000))

    def evidence(self, query: EvidenceQuery) -> Evidence:
        self.asked += 1
        if self.away:
            raise EvidenceError("the collector does not answer")
        users = sum(count for _, count in self.met)
        mature = sum(count for when, count in self.met if when + query.window <= query.as_of)
        exposed = {"stable": int(users), "candidate": int(users * (1 - self.loses))}
        sums = {arm: _sums(int(mature), click) for arm, click in zip(("stable", "candidate"), self.clicks, strict=True)}
        return Evidence(query.as_of, exposed, sums, sums)

    def quantiles(
        self, rules: Mapping[Column, CapRule], span: tuple[datetime, datetime], window: timedelta | None = None
    ) -> Caps:
        if self.away:
            raise EvidenceError("the collector does not answer")
        self.caps_asked.append((dict(rules), span, window))
        if self.no_history:
            return Caps({}, notes=("there are no events: numbers are not capped",))
        low = {column.name: -1.0 for column, rule in rules.items() if rule.lower is not None}
        return Caps({column.name: 10.0 if window else 140.0 for column in rules}, low)


def _sums(users: int, clicks: float) -> Moments:
    clicked = round(users * clicks)
    return Moments.from_sums(["click_any"], users, [float(clicked)], [float(clicked)])


@dataclass
class MemoryGuardrails:
    assignments: MemoryAssignments
    value: float | None = 0.001
    away: bool = False
    few: bool = False
    """Prometheus answers, and too few rankings came."""
    unsure: bool = False
    """Values above the limit are no proof."""
    counted: bool = True

    def read(
        self, spec: ExperimentSpec, experiment: str, now: datetime, since: datetime | None = None
    ) -> Sequence[Reading]:
        if self.away:
            raise RetryError("Prometheus does not answer")
        published = self.assignments.published(UID)
        value = self.value if published is not None and published.share else None
        return [
            Reading(
                each.name,
                None if self.few else value,
                each.limit,
                "4 rankings" if self.few else "" if value is not None else "no samples",
                breached=not self.unsure and value is not None and value > each.limit,
                few=self.few,
                counted=self.counted,
            )
            for each in spec.guardrails
        ]


@dataclass
class MemoryNotices:
    told: list[str] = field(default_factory=list)

    def tell(self, experiment: str, reason: str, message: str, *, warning: bool) -> None:
        self.told.append(reason)


@dataclass
class Life:
    """An experiment, its world, and the controller that is called again and again."""

    spec: ExperimentSpec = field(default_factory=spec_of)
    clock: ManualClock = field(default_factory=ManualClock)
    bundles: MemoryBundles = field(default_factory=MemoryBundles)
    cluster: MemoryCluster = field(default_factory=MemoryCluster)
    kept: State | None = None
    saves: int = 0

    def __post_init__(self) -> None:
        self.assignments = MemoryAssignments()
        self.metrics = MemoryMetrics(self.clock, self.assignments)
        self.guardrails = MemoryGuardrails(self.assignments)
        self.notices = MemoryNotices()
        self.ports: dict[str, Any] = {
            "clock": self.clock,
            "bundles": self.bundles,
            "cluster": self.cluster,
            "assignments": self.assignments,
            "metrics": self.metrics,
            "guardrails": self.guardrails,
            "notices": self.notices,
        }

    @property
    def state(self) -> State:
        assert self.kept is not None
        return self.kept

    @property
    def published(self) -> Assignment | None:
        return self.assignments.published(UID)

    def save(self, state: State) -> None:
        # As the resource keeps it: what does not survive JSON would be lost.
        self.kept = State.model_validate_json(state.model_dump_json(by_alias=True, exclude_defaults=True))
        self.saves += 1

    def step(self, *, wrap: Callable[[str, Any], Any] = lambda _, port: port, state: State | None = None) -> Step:
        """One step, from the state that is kept, through ports that may be wrapped."""
        world = World(**{name: wrap(name, port) for name, port in self.ports.items()})
        save = wrap("save", self.save)
        return reconcile(NAME, UID, self.spec, self.kept if state is None else state, world, save)

    def jump(self, length: timedelta) -> None:
        """The clock is wrong from now on by so much more; no user comes by that."""
        self.clock.time += length

    def pass_time(self, length: timedelta) -> None:
        self.metrics.pass_time(length.total_seconds() / 3600)
        self.clock.time += length

    def run(self, *, hours: float = 72.0, step: timedelta | None = None) -> State:
        """Steps until the end, or for so long; as the controller asks, or of a length of their own."""
        until = self.clock.time + timedelta(hours=hours)
        while self.clock.time < until:
            done = self.step()
            assert not done.failure, done.failure
            if done.wait is None:
                break
            self.pass_time(step or done.wait)
        return self.state

    def run_to(self, phase: str, *, hours: float = 72.0) -> State:
        """Steps until the phase is reached."""
        until = self.clock.time + timedelta(hours=hours)
        while self.clock.time < until:
            done = self.step()
            if self.state.phase == phase:
                return self.state
            assert done.wait is not None, self.state.message
            self.pass_time(done.wait)
        raise AssertionError(f"{phase} was not reached: {self.state.phase}, {self.state.message}")
