"""The watch, by kopf: which experiments have changed. All else that kopf could do (finalizers, annotations, events,
peering) is not used: turns are level-based, and what they keep is in `status`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import kopf

from serving.rollout.experiment.spec import GROUP, PLURAL, VERSION
from serving.rollout.operator.turn import Key

log = logging.getLogger("sightline.operator")
_PAUSE_SECONDS = 2.0


class Changes:
    """Tells what people have changed from what we have written ourselves: only the former raises the generation."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Any, ...]] = {}

    def is_new(self, key: Key, metadata: Mapping[str, Any]) -> bool:
        """Whether the object was made, changed by somebody, or is on its way out since it was last seen."""
        seen = tuple(metadata.get(field) for field in ("uid", "generation", "deletionTimestamp"))
        before, self._known[key] = self._known.get(key), seen
        return before != seen


class _Backoffs:
    """Seconds between tries at an API that does not answer: it is asked for ever."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1.0, 1.0, 2.0, 3.0), itertools.repeat(5.0))


def watch(namespaces: Sequence[str], changed: Callable[[Key], None], stop: threading.Event) -> None:
    """Tell of every experiment that is there, is changed or goes, until `stop`. Begins anew when kopf gives up."""
    changes = Changes()

    def seen(key: Key, metadata: Mapping[str, Any]) -> None:
        if changes.is_new(key, metadata):
            changed(key)

    with ThreadPoolExecutor(1, thread_name_prefix="kopf") as pool:
        while not stop.is_set():
            ended = pool.submit(asyncio.run, _operator(namespaces, seen, stop)).exception()
            if not stop.wait(_PAUSE_SECONDS):
                log.warning("the watch has ended (%r) and begins anew", ended)


async def _operator(
    namespaces: Sequence[str], seen: Callable[[Key, Mapping[str, Any]], None], stop: threading.Event
) -> None:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
    def login(**given: Any) -> Any:
        return kopf.login_via_client(**given)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)  # type: ignore[untyped-decorator]
    async def told(namespace: str, name: str, meta: Mapping[str, Any], **_: Any) -> None:
        seen(Key(namespace, name), meta)

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # it would watch the cluster's definitions and namespaces, and need the right to
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.connect_timeout = 10.0
    await kopf.operator(
        registry=registry, settings=settings, namespaces=list(namespaces), standalone=True, stop_flag=stop
    )
