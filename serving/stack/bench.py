"""Every measurement of the project in one run: hashing, training, captioning, ranking, memory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from serving.bench.captioning import CaptioningRow, measure_captioning
from serving.bench.ranking import RankingRow, measure_ranking
from serving.items.lmdb_store import LmdbStore
from serving.stack import parts, services
from serving.stack.errors import StackError
from serving.stack.foreground import foreground
from serving.stack.journal import both
from serving.stack.layout import Layout
from serving.stack.lines import Report
from serving.stack.memory import proportional_mib
from serving.stack.ports import HOST, Ports
from serving.stack.services import RANKER, bundle_path
from training.bench import hashing, training
from training.bench.hashing import Measurement
from training.bench.training import TrainingRow

Measured = TypeVar("Measured")
POSTERS = 256
CANDIDATES = 500


@dataclass(frozen=True)
class BenchResult:
    """What was measured; each group has its own baseline, measured in turn with the rest of the group."""

    hashing: list[Measurement]
    training: list[TrainingRow]
    captioning: list[CaptioningRow]
    ranking: list[RankingRow]
    memory_mib: dict[str, float]


def run(layout: Layout, ports: Ports, report: Report) -> BenchResult:
    """Measure everything; servers are started for it and stopped after it.

    Raises:
        StackError: the parts or the posters are not there, there is too little to rank, or a port is taken.
    """
    parts.verify(layout)
    posters, user = _posters(layout), _user(layout)
    hashed = _told(report, "hashing", hashing.measure)
    trained = _told(report, "training", training.measure)
    with foreground(layout, ports, "bench") as held:
        supervisor, report = held.supervisor, both(report, held.journal.report)
        supervisor.launch(services.captioner(layout, ports))
        supervisor.wait_ready(report)
        captioner = f"http://{HOST}:{ports.captioner}"
        captioned = _told(report, "captioning", partial(measure_captioning, captioner, posters))
        supervisor.launch(services.triton(layout, ports), services.transformer(layout, ports))
        supervisor.wait_ready(report)
        rank = partial(
            measure_ranking,
            bundle=bundle_path(layout, RANKER),
            store=layout.store,
            model_name=RANKER,
            transformer_http=f"{HOST}:{ports.transformer_http}",
            transformer_grpc=f"{HOST}:{ports.transformer_grpc}",
            triton_grpc_address=f"{HOST}:{ports.triton_grpc}",
            user_id=user,
            candidates=CANDIDATES,
        )
        ranked = _told(report, "ranking", rank)
        memory = proportional_mib(supervisor.pids())
    return BenchResult(hashed, trained, captioned, ranked, memory)


def _told(report: Report, step: str, measure: Callable[[], Measured]) -> Measured:
    """A measurement as one step, told at its begin and end; its parts are not counted, as counting would disturb it."""
    report(step, 0, 1)
    found = measure()
    report(step, 1, 1)
    return found


def _posters(layout: Layout) -> list[Path]:
    found = sorted(layout.posters.glob("*.png"))[:POSTERS]
    if not found:
        raise StackError(f"{layout.posters} has no poster to caption; draw them: {layout.command('demo')}")
    return found


def _user(layout: Layout) -> str:
    """A user that the item store knows, where there are enough items to rank for them."""
    with LmdbStore.open(layout.store, readonly=True) as store:
        count, user = store.count(), next(store.user_ids(), None)
    if count < CANDIDATES or user is None:
        raise StackError(
            f"the item store {layout.store} has {count} items and {'no user' if user is None else 'users'}; ranking is "
            f"measured with {CANDIDATES} items for a user: {layout.command('bench', '--demo')}"
        )
    return user
