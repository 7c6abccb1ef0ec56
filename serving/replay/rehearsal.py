"""Stories without servers: by score tables, as often as wanted."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from serving.replay.book import Book
from serving.replay.by_table import TableServing
from serving.replay.ledger import Ledger
from serving.replay.material import Material
from serving.replay.population import Ints, Taste, Visits, draw_users, draw_visits
from serving.replay.readings import ServedReadings
from serving.replay.run import Crowd, SimulatedClock, Telling, tell
from serving.replay.scores import PERSONAS, Float32s
from serving.replay.served import OUTSIDE, Served
from serving.replay.story import Fault, Model, Story
from serving.replay.terms import BEFORE_DAYS, START, VISIT_DAYS, terms
from serving.rollout.experiment.ports import CandidateState, Readiness, VerifiedBundle
from serving.rollout.experiment.world import World

USERS = 3000
PREDICTOR = "candidate:9000"


@dataclass(frozen=True)
class Tables:
    """What a rehearsal needs of the material; small enough to be handed to another process."""

    taste: Taste
    scores: Mapping[Model, Float32s]
    bundle_ids: Mapping[Model, str]
    contracts: Mapping[Model, str]

    @classmethod
    def of(cls, made: Material) -> Tables:
        """Of the material."""
        ids = {model: bundle.id for model, bundle in made.bundles.items()}
        return cls(made.taste, made.tables, ids, {m: b.contract.digest for m, b in made.bundles.items()})


class TableCluster:
    """The `Cluster` port where nothing runs: the candidate is ready once it is deployed, until it dies."""

    def __init__(self, stable: str, dies: bool) -> None:
        self._stable, self._dies = stable, dies
        self._deployed = self._dead = False

    def candidate(self) -> CandidateState:
        """READY, until it was killed."""
        if not self._deployed:
            return CandidateState(Readiness.ABSENT)
        if self._dead:
            return CandidateState(Readiness.STARTING, PREDICTOR, "its Triton does not answer")
        return CandidateState(Readiness.READY, PREDICTOR)

    def deploy(self, bundle: VerifiedBundle) -> None:
        """It is there."""
        self._deployed = True

    def warm(self) -> None:
        """It is warm."""

    def remove(self) -> None:
        """It is gone."""
        self._deployed = False

    def promote(self) -> bool:
        """Nothing is left to do."""
        return True

    def replaced(self) -> int:
        """A promotion is a single step here."""
        return 0

    def promotion_hint(self) -> str:
        """Nothing is left to people."""
        return ""

    def stable(self) -> str | None:
        """The bundle of what serves."""
        return self._stable

    def rival(self) -> str | None:
        """There is one experiment."""
        return None

    def fault(self) -> None:
        """The story's fault begins."""
        self._dead = self._dies


@dataclass(frozen=True, slots=True)
class KnownBundles:
    """The `Bundles` port over bundles that were read already."""

    bundle: VerifiedBundle

    def verify(self, uri: str) -> VerifiedBundle:
        """The candidate's."""
        return self.bundle


@dataclass(frozen=True, slots=True)
class Silence:
    """The `Notices` port: the decision log is enough."""

    def tell(self, experiment: str, reason: str, message: str, *, warning: bool) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class LedgerRecorder:
    """Writes what was served into the ledger."""

    ledger: Ledger
    visits: Visits

    def record(self, which: slice, served: Served, clicks: Ints) -> None:
        """Rankings and clicks; the arm only where the exposure was recorded."""
        arms = np.where(served.recorded, served.arm, OUTSIDE)
        self.ledger.add(self.visits.time[which], self.visits.user[which], clicks, arms)


def rehearse(story: Story, seed: int, tables: Tables, users: int = USERS) -> Telling:
    """Tell the story once, with the crowd of that seed."""
    items = tables.taste.likes.shape[1]
    people = draw_users(seed, users, PERSONAS, f"s{seed}-")
    visits = draw_visits(seed, users, items, before_days=BEFORE_DAYS, days=VISIT_DAYS)
    serving = TableServing(tables.scores, story, people, visits, np.random.default_rng([seed, 3]))
    ledger, readings, book, clock = Ledger(users, START), ServedReadings(), Book(), SimulatedClock()
    cluster = TableCluster(tables.bundle_ids[story.stable], dies=story.fault is Fault.DEAD)
    candidate = VerifiedBundle(tables.bundle_ids[story.candidate], tables.contracts[story.candidate])
    world = World(clock, KnownBundles(candidate), cluster, book, ledger, readings, Silence())
    return tell(
        story,
        seed,
        Crowd(people, visits, tables.taste),
        terms(f"/bundles/{story.candidate}", users),
        serving,
        LedgerRecorder(ledger, visits),
        readings,
        world,
        clock,
        book.current,
        cluster.fault,
    )


def rehearse_many(
    stories: Sequence[Story], seeds: Sequence[int], tables: Tables, *, workers: int, done: Callable[[int, int], None]
) -> list[Telling]:
    """Tell every story with every seed, in `workers` processes; `done` hears of (told, of)."""
    pairs = [(story, seed) for seed in seeds for story in stories]
    context = multiprocessing.get_context("spawn")
    told = []
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(tables,)) as pool:
        for telling in pool.map(_rehearsed, pairs, chunksize=4):
            told.append(telling)
            done(len(told), len(pairs))
    return told


_given: list[Tables] = []
"""What this worker process rehearses with: sent once, not with every story."""


def _begin(tables: Tables) -> None:
    _given.append(tables)


def _rehearsed(pair: tuple[Story, int]) -> Telling:
    return rehearse(*pair, _given[-1])
