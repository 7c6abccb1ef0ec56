"""What must be on disk before the stack can start, and how it comes there."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from models.bundle import Bundle, read_bundle
from models.items import ItemStoreError
from models.triton.repository import config_parameters
from serving.items.lmdb_store import LmdbStore
from serving.stack import pipeline, services
from serving.stack.captioning import Captioned
from serving.stack.errors import StackError
from serving.stack.foreground import foreground
from serving.stack.layout import Layout
from serving.stack.pipeline import Catalogue
from serving.stack.ports import HOST, Ports
from serving.stack.services import ABLATION, RANKER, bundle_path
from serving.stack.supervisor import Supervisor
from training.lift import LiftReport
from training.recipe import Recipe, load_recipe

REBUILD = "rebuild everything: make demo"


@dataclass(frozen=True)
class Prepared:
    """What a run of the offline path made, and how long each step took (seconds)."""

    catalogue: Catalogue
    captioned: Captioned
    lift: LiftReport
    bundles: Mapping[str, Bundle]
    seconds: Mapping[str, float]


def prepare(
    layout: Layout, ports: Ports, supervisor: Supervisor, recipe: Recipe, say: pipeline.Say, report: pipeline.Report
) -> Prepared:
    """Run the offline path: fetch, draw, caption through Ray Serve, train, write bundles, fill Triton's repository.

    Raises:
        StackError, and what the steps raise: see `serving.stack.pipeline`.
    """
    clock = _Clock()
    supervisor.launch(services.captioner(layout, ports))
    source = pipeline.catalogue(layout, say, report)
    clock.lap("interactions and posters")
    supervisor.wait_ready()
    clock.lap("waiting for Ray Serve")
    url = f"http://{HOST}:{ports.captioner}"
    images = {item: str(path) for item, path in source.posters.items()}
    captioned = pipeline.caption(layout.store, url, source.data.dataset, source.split, images, report)
    clock.lap("captioning")
    supervisor.end("captioner")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    lift, bundles = pipeline.train(
        layout.bundles,
        source.data.dataset,
        captioned.captions,
        recipe,
        created,
        report,
        words=source.data.words(),
    )
    clock.lap("training and lift")
    pipeline.place(layout, bundles)
    return Prepared(source, captioned, lift, bundles, clock.laps)


def prepare_alone(layout: Layout, ports: Ports, say: pipeline.Say, report: pipeline.Report) -> None:
    """`prepare` with a supervisor of its own and the project's recipe; holds the state folder meanwhile.

    Raises:
        StackBusyError: a stack runs on this state folder.
    """
    with foreground(layout, ports) as supervisor:
        prepare(layout, ports, supervisor, load_recipe(pipeline.RECIPE), say, report)


def is_empty(layout: Layout) -> bool:
    """Whether nothing has been prepared here yet."""
    return not any(place.exists() for place in (layout.bundles, layout.store, layout.triton))


def verify(layout: Layout) -> None:
    """Refuse to serve from parts that are missing, changed, or of different origin.

    Raises:
        StackError: names the part, what is wrong, and the command that mends it.
        BundleError, RepositoryError, ItemStoreError: likewise, from the part itself.
    """
    for name in (RANKER, ABLATION):
        path = bundle_path(layout, name)
        if not path.exists():
            raise StackError(f"bundle {path} is missing; {REBUILD}")
        bundle = read_bundle(path)
        placed = config_parameters(layout.triton / name).get("contract_digest")
        if placed != bundle.contract.digest:
            raise StackError(
                f"Triton's repository {layout.triton / name} holds a model of contract {placed}, "
                f"the bundle {path} is of {bundle.contract.digest}; {REBUILD}"
            )
    try:
        with LmdbStore.open(layout.store, readonly=True) as store:
            items = store.count()
    except ItemStoreError as error:
        raise StackError(f"{error}; {REBUILD}") from error
    if not items:
        raise StackError(f"the item store {layout.store} is empty; {REBUILD}")


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now
