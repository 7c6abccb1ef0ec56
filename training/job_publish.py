"""The job `publish`, and how any job publishes: once, however often it is started."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from models.bundle import Bundle, read_bundle
from models.store.entry import checked_name
from models.store.errors import NoSuchEntryError
from models.store.fetch import fetch_bundle, signed_by
from models.store.keys import signing_key
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
        bundle.require_fit(arguments.force, place=arguments.bundle)
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
    """Ask the store something, so that no job trains for hours for a store that it cannot reach,
    or with a signing key that cannot be used.

    Raises:
        ModelStoreError: it did not answer, or `name` or `name`-ids cannot be a model's, or the key is not one.
    """
    for each in (name, f"{name}-ids"):
        checked_name(each)
    signing_key(os.environ)
    ModelStore.at(uri).names()


def publish_once(store: ModelStore, bundle: Bundle, name: str) -> tuple[str, bool]:
    """The bundle's entry, and whether it is new.

    A job that was killed after publishing and before it could say so finds its entry here. Two processes that publish
    the same bundle at the same moment make two entries of it. With SIGHTLINE_SIGNING_KEY the entry is signed; one that
    is there and was not signed by that key is another's word, and a new one is made.

    Raises:
        ModelStoreError: nothing was published.
    """
    key = signing_key(os.environ)
    try:
        listed = store.listing(name)
    except NoSuchEntryError:
        listed = []
    for each in reversed(listed):
        ours = each.entry is not None and each.entry.bundle == bundle.id
        if ours and (key is None or signed_by(each.uri, key.public_key())):
            return each.uri, False
    created = datetime.now(UTC).isoformat(timespec="seconds")
    published = store.publish(bundle.path, created=created, name=name, key=key)
    return published.uri, True
