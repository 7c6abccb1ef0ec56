"""From settings to rankers: the one place where bundles, store, predictor and caches meet."""

import asyncio
import logging
import os
import random
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import REGISTRY

from models.bundle import Bundle, read_bundle
from models.contract import CaptionTokenizer
from models.items import ItemStoreError
from serving.items.redis_store import RedisStore
from serving.items.uri import is_redis, open_store
from serving.transformer.feature_names import FeatureNames
from serving.transformer.features import FeatureBuilder
from serving.transformer.handshake import Handshake, Verdict
from serving.transformer.metrics import Metrics
from serving.transformer.missing import MissingCaptions, read_ids, share_ids, write_ids
from serving.transformer.predictor import Predictor, open_channel
from serving.transformer.ranker import Ranker
from serving.transformer.request import Limits, RequestParser
from serving.transformer.service import RankCall, Served, Service
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

    def service(self, calls: Mapping[str, RankCall]) -> Service:
        """The service over the rankers; `calls` is how each is called."""
        models = {r.name: Served(calls[r.name], self.parsers[r.name], r.handshake) for r in self.rankers}
        return Service(models, self.metrics, self.settings.retry_after_seconds)

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the servers: a handshake per model, and the list of wanted captions."""
        return [*(ranker.handshake.watch() for ranker in self.rankers), _keep_list(self.missing, self.metrics)]

    async def close(self) -> None:
        """Write the list a last time, close channel and store."""
        _write_list(self.missing, None)
        await self.channel.close()
        self.store.close()


def build(settings: Settings) -> Built:
    """Read the bundles and connect. A store or a Triton that is away is no reason not to start.

    Raises `BundleError`, `ContractError`, OSError or ValueError for what will not get better by waiting.
    """
    metrics = Metrics(REGISTRY)
    channel = open_channel(settings.predictor_host, max(settings.max_body_bytes, 64 << 20))
    predictor = Predictor(
        channel,
        retries=settings.predictor_request_retries,
        retry_after=settings.retry_after_seconds,
        clock=time.monotonic,
        uniform=random.uniform,
        on_retry=metrics.predictor_retries.inc,
    )
    store = _store(settings, metrics)
    missing = _missing(settings)
    rankers, parsers = [], {}
    for name, folder in settings.models.items():
        bundle = read_bundle(folder)
        features = _features(settings, bundle, store, missing)
        rankers.append(_ranker(settings, name, bundle, features, predictor, metrics))
        parsers[name] = RequestParser(FeatureNames(bundle.contract), _limits(settings))
    return Built(settings, metrics, tuple(rankers), parsers, channel, store, missing)


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


def _features(settings: Settings, bundle: Bundle, store: StoreConnection, missing: MissingCaptions) -> FeatureBuilder:
    tokenizer = None
    if bundle.contract.caption is not None and bundle.tokenizer is not None:
        tokenizer = CaptionTokenizer.from_bytes(bundle.tokenizer, bundle.contract.caption.tokenizer_sha256)
    return FeatureBuilder(
        bundle.contract,
        tokenizer,
        store,
        cache_rows=settings.cache_items,
        on_captioned=missing.captioned,
        on_missing=missing.missed,
    )


def _ranker(
    settings: Settings,
    name: str,
    bundle: Bundle,
    features: FeatureBuilder,
    predictor: Predictor,
    metrics: Metrics,
) -> Ranker:
    def report(model: str, verdict: Verdict) -> None:
        metrics.ready.labels(model).set(1 if verdict.ready else 0)
        if verdict.ready:
            log.info("model %s is ready: Triton serves contract %s", model, bundle.contract.digest)
        else:
            log.log(
                logging.ERROR if verdict.mismatch else logging.WARNING,
                "model %s is not ready: %s",
                model,
                verdict.reason,
            )

    handshake = Handshake(
        name,
        bundle.contract,
        predictor,
        rows=settings.max_candidates,
        clock=time.monotonic,
        report=report,
        retry_after=settings.retry_after_seconds,
        interval=settings.handshake_seconds,
        timeout=settings.predictor_request_timeout_seconds,
    )
    return Ranker(
        name,
        bundle.contract,
        features,
        predictor,
        handshake,
        metrics,
        clock=time.monotonic,
        timeout=settings.predictor_request_timeout_seconds,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        candidates=settings.max_candidates,
        instances=settings.max_instances,
        id_bytes=settings.max_id_bytes,
        caption_bytes=settings.max_caption_bytes,
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
