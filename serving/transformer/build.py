"""From settings to rankers: the one place where bundles, store, predictor and caches meet."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import REGISTRY

from models.bundle import Bundle
from models.items import ItemStoreError
from models.store.fetch import read_signed
from serving.items.redis_store import RedisStore
from serving.items.uri import is_redis, open_store
from serving.transformer.experiments import Experiments, experiments
from serving.transformer.feature_names import FeatureNames
from serving.transformer.handshake import Verdict
from serving.transformer.metrics import Metrics
from serving.transformer.missing import MissingCaptions, read_ids, share_ids, write_ids
from serving.transformer.ranker import Ranker
from serving.transformer.ranker_parts import channel_to, features_of, predictor_over, ranker_of, rows_of
from serving.transformer.request import Limits, RequestParser
from serving.transformer.router import Router, StableCall
from serving.transformer.service import Served, Service
from serving.transformer.settings import Settings
from serving.transformer.stores import StoreConnection, at_once, beside

FLUSH_SECONDS = 2.0
log = logging.getLogger("sightline.transformer")


@dataclass(frozen=True, slots=True)
class Built:
    """All that was made, to be served and, at the end, closed."""

    settings: Settings
    metrics: Metrics
    rankers: tuple[Ranker, ...]
    parsers: Mapping[str, RequestParser]
    channel: grpc.aio.Channel
    store: StoreConnection
    missing: MissingCaptions
    experiments: Experiments

    def routers(self, calls: Mapping[str, StableCall]) -> dict[str, Router]:
        """A router per model; `calls` is how each model's own ranker is called."""
        make = self.experiments.router
        return {r.name: make(self.settings, r, calls[r.name], self.metrics) for r in self.rankers}

    def service(self, routers: Mapping[str, Router]) -> Service:
        """The service over the routers."""
        models = {name: Served(router.rank, self.parsers[name], router) for name, router in routers.items()}
        return Service(models, self.metrics, self.settings.retry_after_seconds)

    def watches(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs beside the servers: a handshake per model, the list of wanted captions, the experiments."""
        handshakes = {f"handshake of {ranker.name}": ranker.handshake.watch() for ranker in self.rankers}
        return {**handshakes, "wanted captions": _keep_list(self.missing, self.metrics), **self.experiments.watches()}

    async def close(self) -> None:
        """Write the list a last time, close channels and store."""
        await self.experiments.close()
        _write_list(self.missing, None)
        await self.channel.close()
        self.store.close()


def build(settings: Settings) -> Built:
    """Read the bundles and connect. A store or a Triton that is away is no reason not to start.

    Raises `BundleError`, `ModelStoreError`, `ContractError`, `ItemStoreOriginError`, OSError or ValueError for what
    will not get better by waiting.
    """
    metrics = Metrics(REGISTRY)
    channel = channel_to(settings.predictor_host, settings)
    predictor = predictor_over(channel, settings, metrics)
    store = _store(settings, metrics)
    missing = _missing(settings)
    rankers, parsers = [], {}
    for name, folder in settings.models.items():
        bundle = read_signed(folder)
        rows = rows_of(settings, bundle, store)
        rows.require()
        features = features_of(settings, bundle, rows, missing)
        report = _reporting(name, bundle, metrics)
        rankers.append(ranker_of(settings, name, bundle, features, predictor, metrics, in_triton=name, report=report))
        parsers[name] = RequestParser(FeatureNames(bundle.contract), _limits(settings))
    arms = experiments(settings, store, missing, metrics)
    return Built(settings, metrics, tuple(rankers), parsers, channel, store, missing, arms)


def _reporting(name: str, bundle: Bundle, metrics: Metrics) -> Callable[[str, Verdict], None]:
    def report(_: str, verdict: Verdict) -> None:
        metrics.ready.labels(name).set(1 if verdict.ready else 0)
        if verdict.ready:
            log.info("model %s is ready: Triton serves contract %s", name, bundle.contract.digest)
        else:
            level = logging.ERROR if verdict.mismatch else logging.WARNING
            log.log(level, "model %s is not ready: %s", name, verdict.reason)

    return report


def _store(settings: Settings, metrics: Metrics) -> StoreConnection:
    def report(failure: ItemStoreError | None) -> None:
        metrics.store_up.set(0 if failure else 1)
        if failure:
            log.warning("rankings are degraded: %s", failure)
        else:
            log.info("the item store answers again")

    metrics.store_up.set(1)
    return StoreConnection(
        lambda: open_store(settings.store, os.environ, readonly=True, timeout=settings.store_timeout_seconds),
        clock=time.monotonic,
        report=report,
        reopen=beside if is_redis(settings.store) else at_once,
    )


def _missing(settings: Settings) -> MissingCaptions:
    if settings.missing_file is None and is_redis(settings.store):
        return MissingCaptions(settings.missing_limit, share_ids(lambda: _wanted(settings), settings.missing_limit))
    if settings.missing_file is None:
        return MissingCaptions(settings.missing_limit, lambda _: None)
    settings.missing_file.parent.mkdir(parents=True, exist_ok=True)
    known = read_ids(settings.missing_file)
    return MissingCaptions(settings.missing_limit, write_ids(settings.missing_file), known)


def _wanted(settings: Settings) -> RedisStore:
    return RedisStore.open(settings.store, os.environ, readonly=True)  # not in a request's time: it may take its own


def _limits(settings: Settings) -> Limits:
    return Limits(
        candidates=settings.max_candidates,
        instances=settings.max_instances,
        id_bytes=settings.max_id_bytes,
        caption_bytes=settings.max_caption_bytes,
        inline_bytes=settings.max_inline_bytes,
        text_bytes=settings.max_text_bytes,
    )


async def _keep_list(missing: MissingCaptions, metrics: Metrics) -> None:
    """Write the list of wanted captions off the event loop, when it changed."""
    failure = None
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        metrics.wanted.set(len(missing))
        failure = await asyncio.to_thread(_write_list, missing, failure)


def _write_list(missing: MissingCaptions, failure: str | None) -> str | None:
    """Write the list if it changed. What prevents it is logged when it is not `failure` again, and returned."""
    if (ids := missing.take()) is None:
        return failure
    try:
        missing.flush(ids)
    except (OSError, ItemStoreError) as error:
        if str(error) != failure:
            log.warning("the list of items without caption could not be written, it is tried again: %s", error)
        return str(error)
    return None
