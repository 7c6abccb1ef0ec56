"""A story told for real: Triton, transformer, collector and the controller's code, on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from models.contract import CaptionTokenizer
from models.store.errors import ModelStoreError
from models.store.fetch import verify
from serving.items.lmdb_store import LmdbStore
from serving.replay.book import Book
from serving.replay.by_table import SLOW_SECONDS
from serving.replay.live.cluster import LocalCluster
from serving.replay.live.relay import Relay
from serving.replay.live.servers import Collector, collector, transformer, triton
from serving.replay.live.serving import LiveServing
from serving.replay.material import Material
from serving.replay.population import Ints, draw_users, draw_visits
from serving.replay.readings import ServedReadings
from serving.replay.rehearsal import Silence
from serving.replay.run import Crowd, SimulatedClock, Telling, tell
from serving.replay.served import Served
from serving.replay.story import Fault, Story
from serving.replay.terms import BEFORE_DAYS, VISIT_DAYS, terms
from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.experiment.evidence import Evidence, EvidenceQuery
from serving.rollout.experiment.observe import evidence_query
from serving.rollout.experiment.ports import RefusedError, VerifiedBundle
from serving.rollout.experiment.spec import Column, ExperimentSpec
from serving.rollout.experiment.world import World
from serving.rollout.statistics.winsor import CapRule, Caps
from serving.stack.supervisor import Supervisor

USERS = 1500


class StoredBundles:
    """The `Bundles` port over the model store's own check: every byte is read."""

    def verify(self, uri: str) -> VerifiedBundle:
        """Read all of it. Raises RefusedError."""
        try:
            found = verify(uri)
        except (ModelStoreError, ValueError) as cause:
            raise RefusedError(str(cause)) from cause
        return VerifiedBundle(found.bundle, found.contract_digest)


@dataclass(frozen=True, slots=True)
class OutcomeRecorder:
    """Sends clicks to the collector; exposures are there already."""

    serving: LiveServing

    def record(self, which: slice, served: Served, clicks: Ints) -> None:
        """Rankings that were given out and what was clicked of them."""
        self.serving.outcomes(which, clicks)


@dataclass(frozen=True, slots=True)
class StoryClock:
    """The collector's evidence without "late": it dates arrivals by this machine's clock, and outcomes by the story's.

    All of a story arrives months after it happened, and none of it is late.
    """

    collector: CollectorEvidence

    def evidence(self, query: EvidenceQuery) -> Evidence:
        """Raises EvidenceError."""
        found = self.collector.evidence(query)
        return replace(found, quality=replace(found.quality, late=0))

    def quantiles(
        self, rules: Mapping[Column, CapRule], span: tuple[datetime, datetime], window: timedelta | None = None
    ) -> Caps:
        """Raises EvidenceError."""
        return self.collector.quantiles(rules, span, window)

    def close(self) -> None:
        """Close the connections."""
        self.collector.close()


@dataclass(frozen=True, slots=True)
class Told:
    """A story that was told, and its terms."""

    telling: Telling
    spec: ExperimentSpec
    ended: datetime
    evidence: Evidence
    """Asked once more, at the end."""


def tell_live(
    story: Story,
    seed: int,
    made: Material,
    folder: Path,
    users: int = USERS,
    say: Callable[[str], None] = lambda _: None,
) -> Told:
    """Tell the story with real servers, whose logs and data are left in `folder`.

    Raises:
        StackError: a server does not start, or does not do its part.
    """
    people = draw_users(seed, users, users, f"{story.name}-")
    visits = draw_visits(seed, users, len(made.catalogue.ids), before_days=BEFORE_DAYS, days=VISIT_DAYS)
    crowd, clock, readings = Crowd(people, visits, made.taste), SimulatedClock(), ServedReadings()
    spec = terms(str(made.bundles[story.candidate].path), users)
    with _servers(story, made, folder) as (cluster, relay, keeper):
        book = Book(folder / "book.json")
        serving = LiveServing(story, made.catalogue, people, visits, cluster, relay, keeper)
        evidence = StoryClock(CollectorEvidence(keeper.url, token=keeper.tokens["evidence"]))
        world = World(clock, StoredBundles(), cluster, book, evidence, readings, Silence())
        say(f"{story.title}: {len(visits.time):,} visits of {users:,} users")
        telling = tell(
            story,
            seed,
            crowd,
            spec,
            serving,
            OutcomeRecorder(serving),
            readings,
            world,
            clock,
            book.current,
            lambda: _break(story, cluster),
        )
        last = evidence.evidence(evidence_query(story.name, telling.uid, spec, telling.state, clock.now()))
        serving.close()
        evidence.close()
    return Told(telling, spec, clock.now(), last)


@contextmanager
def _servers(story: Story, made: Material, folder: Path) -> Iterator[tuple[LocalCluster, Relay, Collector]]:
    """Everything that runs before the experiment; nothing runs after the block."""
    stable, candidate = made.bundles[story.stable], made.bundles[story.candidate]
    tokenizer = CaptionTokenizer.from_bytes(made.bundles["captions"].tokenizer or b"")
    with LmdbStore.open(folder / "store") as store:
        store.put_many(made.catalogue.rows(tokenizer))
    with Relay() as relay, Supervisor() as supervisor:
        keeper, first = collector(folder), triton(folder, "triton-stable", stable)
        supervisor.launch(keeper.service, first.service)
        supervisor.wait_ready()
        front = transformer(folder, "transformer", stable, first.grpc_port, relay.url)
        supervisor.start(front.service)
        cluster = LocalCluster(folder, supervisor, stable, candidate, first, front, relay.url)
        try:
            yield cluster, relay, keeper
        finally:
            cluster.remove()


def _break(story: Story, cluster: LocalCluster) -> None:
    if story.fault is Fault.DEAD:
        cluster.kill_candidate()
    elif story.fault is Fault.SLOW and cluster.wire is not None:
        cluster.wire.delay = SLOW_SECONDS
