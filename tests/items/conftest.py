"""The adapters that must pass the store contract: a new one adds a line to ADAPTERS."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.items.lmdb_store import LmdbStore

ADAPTERS: dict[str, Callable[[Path], LmdbStore]] = {
    "lmdb": lambda folder: LmdbStore.open(folder / "store", map_size=1 << 20),
}


@pytest.fixture(params=sorted(ADAPTERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LmdbStore]:
    """A fresh, empty store of each adapter."""
    with ADAPTERS[request.param](tmp_path) as opened:
        yield opened
