"""Bundles of the model store, read and checked byte for byte; once per entry."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models.bundle import BundleError
from models.store.errors import ModelStoreError, StoreUnreachableError, UnfinishedEntryError
from models.store.fetch import verify
from models.store.source import Source
from serving.rollout.evidence.bounded import redacted
from serving.rollout.experiment.ports import RefusedError, RetryError, VerifiedBundle


class StoreBundles:
    """`Bundles` over the model store. What was verified is remembered by URI and the entry's own digest."""

    def __init__(self, check: Callable[[str], None]) -> None:
        """`check` raises RefusedError for a place that is not allowed; nothing there is opened."""
        self._check = check
        self._verified: dict[tuple[str, str], VerifiedBundle] = {}
        self._lock = threading.Lock()

    def verify(self, uri: str) -> VerifiedBundle:
        """Read all of it, unless the same entry was read before.

        Raises:
            RefusedError: there is no such bundle, or it is not what was published.
            RetryError: the store does not answer, or the entry is still being published.
        """
        self._check(uri)
        try:
            entry = Source.at(uri).entry
            key = (uri, entry.bundle if entry else "")
            with self._lock:
                known = self._verified.get(key) if entry else None
            if known is not None:
                return known
            found = verify(uri)
        except (StoreUnreachableError, UnfinishedEntryError) as error:
            raise RetryError(redacted(f"bundle {uri}: {error}")) from error
        except (ModelStoreError, BundleError, ValueError) as error:
            raise RefusedError(redacted(f"spec.candidate.bundle is {uri}, which cannot be used: {error}")) from error
        except OSError as error:
            raise RetryError(redacted(f"bundle {uri}: {error}; is there room in the temporary folder?")) from error
        made = VerifiedBundle(found.bundle, found.contract_digest)
        with self._lock:
            self._verified[key] = made
        return made
