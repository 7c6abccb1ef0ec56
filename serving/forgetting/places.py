"""Addresses as a person gives them, and the secrets that belong to them, made places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.experiments.events import KEY_VARIABLE
from models.items import ItemStoreError
from serving.forgetting.collector import CollectorPlace
from serving.forgetting.folder import FolderPlace
from serving.forgetting.item_store import ItemStorePlace
from serving.forgetting.place import Place, PlaceError
from serving.forgetting.stream import STREAM_PASSWORD, StreamPlace
from serving.items.redis_link import PASSWORD
from serving.items.uri import check_place
from serving.rollout.evidence.collector import TOKEN_VARIABLE
from serving.transformer.exposing import pseudonym_key
from serving.transformer.exposures.address import FolderAddress, StreamAddress, parse
from serving.transformer.exposures.sink import ExposureError

SECRETS = (TOKEN_VARIABLE, KEY_VARIABLE, PASSWORD, STREAM_PASSWORD)
"""Each may be in a file that the variable with the ending _FILE names."""


def places(
    stores: Sequence[str], collectors: Sequence[str], exposures: Sequence[str], environ: Mapping[str, str]
) -> list[Place]:
    """The places of these addresses; nothing is connected yet. Raises PlaceError for one that is none."""
    environ = with_files(environ)
    found: list[Place] = []
    for store in stores:
        try:
            check_place(store)
        except ItemStoreError as cause:
            raise PlaceError(str(cause)) from cause
        found.append(ItemStorePlace(store, environ))
    found += [CollectorPlace(url, environ) for url in collectors]
    return found + [_exposures(uri, environ) for uri in exposures]


def with_files(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the secrets that are in files. Raises PlaceError; the message has no secret."""
    found = dict(environ)
    for name in SECRETS:
        file = environ.get(f"{name}_FILE")
        if not file:
            continue
        if environ.get(name):
            raise PlaceError(f"{name} and {name}_FILE are both set; give one of them")
        try:
            found[name] = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as cause:
            raise PlaceError(f"{name}_FILE: {file} cannot be read: {cause}") from cause
    return found


def _exposures(uri: str, environ: Mapping[str, str]) -> Place:
    try:
        address, key = parse(uri), pseudonym_key(environ)
    except (ExposureError, ValueError) as cause:
        raise PlaceError(str(cause)) from cause
    if isinstance(address, FolderAddress):
        return FolderPlace(address.folder, key)
    if isinstance(address, StreamAddress):
        return StreamPlace(address, key, environ)
    raise PlaceError(f"exposures {uri}: a collector's are named by --collector, its base address without /v1/exposures")
