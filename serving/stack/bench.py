"""Every measurement of the project in one run: hashing, training, captioning, ranking, memory."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.bench.captioning import CaptioningRow, measure_captioning
from serving.bench.ranking import RankingRow, measure_ranking
from serving.stack import prepared, services
from serving.stack.foreground import foreground
from serving.stack.layout import Layout
from serving.stack.memory import proportional_mib
from serving.stack.ports import HOST, Ports
from serving.stack.services import RANKER, bundle_path
from training.bench import hashing, training
from training.bench.hashing import Measurement
from training.bench.training import TrainingRow

POSTERS = 256


@dataclass(frozen=True)
class BenchResult:
    """What was measured; each group has its own baseline, measured in turn with the rest of the group."""

    hashing: list[Measurement]
    training: list[TrainingRow]
    captioning: list[CaptioningRow]
    ranking: list[RankingRow]
    memory_mib: dict[str, float]


def run(layout: Layout, ports: Ports, say: Callable[[str], None]) -> BenchResult:
    """Measure everything; servers are started for it and stopped after it.

    Raises:
        StackError: the demo's parts are not there (make demo first), or a port is taken.
    """
    prepared.verify(layout)
    say("hashing")
    hashed = hashing.measure()
    say("training")
    trained = training.measure()
    with foreground(layout, ports) as supervisor:
        say("captioning")
        supervisor.start(services.captioner(layout, ports))
        posters = sorted(layout.posters.glob("*.png"))[:POSTERS]
        captioned = measure_captioning(f"http://{HOST}:{ports.captioner}", posters)
        say("ranking")
        supervisor.start(services.triton(layout, ports), services.transformer(layout, ports))
        ranked = measure_ranking(
            bundle=bundle_path(layout, RANKER),
            store=layout.store,
            model_name=RANKER,
            transformer_http=f"{HOST}:{ports.transformer_http}",
            transformer_grpc=f"{HOST}:{ports.transformer_grpc}",
            triton_grpc_address=f"{HOST}:{ports.triton_grpc}",
            user_id="1",
        )
        memory = proportional_mib(supervisor.pids())
    return BenchResult(hashed, trained, captioned, ranked, memory)
