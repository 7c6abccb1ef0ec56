"""The parts that a stack serves from: whether they are there, whole, and of one origin."""

import shlex
from pathlib import Path

from models.bundle import Bundle, BundleError, read_bundle
from models.items import ItemStoreError, Origin
from models.triton.repository import config_parameters, platform_of
from serving.items.lmdb_store import LmdbStore
from serving.stack.errors import StackError
from serving.stack.layout import Layout
from serving.stack.services import ABLATION, RANKER, bundle_path


def unprepared(layout: Layout) -> bool:
    """Whether nothing has been trained here yet, or the preparation was cut off."""
    if layout.home:
        return False  # what is not there of a team's own data cannot be made from nothing
    nothing = not any(bundle_path(layout, name).exists() for name in (RANKER, ABLATION))
    return nothing or layout.unfinished.exists()


def served(layout: Layout, demo: bool = False) -> Layout:
    """The places that are served from: those of a team's own data where there are any, else the demo's."""
    own = layout.own
    return layout if demo or not any(place.exists() for place in (own.bundles, own.store, own.triton)) else own


def refuse_own_models(layout: Layout, digest: str) -> None:
    """Keep the demo from overwriting rankers of other data, which an earlier version kept at the demo's place.

    Raises:
        StackError: there is one; says how it is kept.
    """
    for name in (RANKER, ABLATION):
        path = bundle_path(layout, name)
        if _trained_on(path) in (None, digest):
            continue
        places = [each for each in (layout.bundles, layout.store, layout.triton) if each.exists()]
        home = str(layout.own.bundles.parent)
        moved = shlex.join(["mv", *map(str, places), home])
        raise StackError(
            f"{path} is a ranker of other data than the demo's, which an earlier version kept here. "
            f"Keep it: mkdir -p {shlex.quote(home)} && {moved}"
        )


def _trained_on(path: Path) -> str | None:
    """The data digest of a bundle; None where there is no whole one."""
    try:
        return read_bundle(path).manifest.data_digest
    except BundleError:
        return None


def verify(layout: Layout) -> None:
    """Refuse to serve from parts that are missing, changed, of different origin, or for another Triton.

    Raises:
        StackError: names the part, what is wrong, and the command that mends it.
        BundleError, RepositoryError, ItemStoreError: likewise, from the part itself.
    """
    origin = _origin(layout)
    for name in (RANKER, ABLATION):
        path = bundle_path(layout, name)
        if not path.exists():
            raise StackError(f"bundle {path} is missing; {_retrain(layout, origin.place)}")
        bundle = read_bundle(path)
        _verify_placed(layout, name, bundle)
        if not origin.includes(bundle.manifest.data_digest):
            raise StackError(
                f"{path} was trained on the data {bundle.manifest.data_digest[:19]}, and the item store {layout.store} "
                f"holds {origin}: its ids may mean other items; {_retrain(layout, origin.place)}"
            )


def _origin(layout: Layout) -> Origin:
    """Whose rows the item store holds. Raises StackError for one that is empty, or does not say."""
    try:
        with LmdbStore.open(layout.store, readonly=True) as store:
            items, origin = store.count(), store.origin()
    except ItemStoreError as error:
        raise StackError(f"{error}; {_recaption(layout)}") from error
    if not items:
        raise StackError(f"the item store {layout.store} is empty; {_recaption(layout)}")
    if origin is None:
        raise StackError(
            f"the item store {layout.store} does not say of which data set it is (an earlier version wrote it); "
            f"{_recaption(layout)}"
        )
    return origin


def _verify_placed(layout: Layout, name: str, bundle: Bundle) -> None:
    path, folder = bundle_path(layout, name), layout.triton / name
    again = layout.command("export", str(path), str(layout.triton), "--platform", "python", "--replace")
    placed = config_parameters(folder).get("contract_digest")
    if placed != bundle.contract.digest:
        raise StackError(
            f"Triton's repository {folder} holds a model of contract {placed}, "
            f"the bundle {path} is of {bundle.contract.digest}; place the bundle there: {again}"
        )
    if platform_of(folder) != "python":
        raise StackError(
            f"{folder} is for NVIDIA's Triton image (platform onnxruntime), and this machine's Triton has the Python "
            f"backend alone; place the bundle for it: {again}"
        )


def _retrain(layout: Layout, place: str) -> str:
    words = ("--dataset", place) if layout.home else ()
    return f"train again: {layout.command('train', *words)}"


def _recaption(layout: Layout) -> str:
    if layout.home:
        return f"fill it again: {layout.command('caption', '--dataset', 'FOLDER', '--replace-data')}"
    return f"make the demo's anew: {layout.command('demo')}"
