"""The job `publish`, and how any job publishes: once, however often it is started."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from models.bundle import Bundle, read_bundle
from models.store.entry import checked_name
from models.store.errors import NoSuchEntryError
from models.store.fetch import fetch_bundle
from models.store.store import ModelStore
from training.job_message import Message


def publish(arguments: Namespace) -> Message:
    """Copy a bundle, or an entry of another store, here; verify it; publish it. Too short to be stopped.

    Raises:
        BundleError, ModelStoreError: nothing was published.
    """
    store = ModelStore.at(arguments.out_store)
    with tempfile.TemporaryDirectory(prefix="sightline-job-") as folder:
        fetched = fetch_bundle(arguments.bundle, Path(folder) / "bundle")
        bundle = read_bundle(Path(folder) / "bundle")
        name = arguments.name or (fetched.entry.name if fetched.entry else bundle.manifest.name)
        uri, new = publish_once(store, bundle, name)
    return Message(
        "publish",
        "done",
        f"{arguments.bundle} {'published as' if new else 'was published before, as'} {uri}",
        bundles={name: uri},
        contract_digest=bundle.contract.digest,
    )


def reachable(uri: str, name: str) -> None:
    """Ask the store something, so that no job trains for hours for a store that it cannot reach.

    Raises:
        ModelStoreError: it did not answer, or `name` or `name`-ids cannot be a model's.
    """
    for each in (name, f"{name}-ids"):
        checked_name(each)
    ModelStore.at(uri).names()


def publish_once(store: ModelStore, bundle: Bundle, name: str) -> tuple[str, bool]:
    """The bundle's entry, and whether it is new.

    A job that was killed after publishing and before it could say so finds its entry here. Two processes that publish
    the same bundle at the same moment make two entries of it.

    Raises:
        ModelStoreError: nothing was published.
    """
    try:
        listed = store.listing(name)
    except NoSuchEntryError:
        listed = []
    for each in reversed(listed):
        if each.entry is not None and each.entry.bundle == bundle.id:
            return each.uri, False
    published = store.publish(bundle.path, created=datetime.now(UTC).isoformat(timespec="seconds"), name=name)
    return published.uri, True
