"""From settings to one ranker, stable or candidate: its features, its predictor, its handshake."""

import os
import random
import time
from collections.abc import Callable

import grpc

from models.bundle import Bundle
from models.contract import CaptionTokenizer
from serving.items.user_keys import read_user_keys
from serving.transformer.features import FeatureBuilder
from serving.transformer.handshake import Handshake, Verdict
from serving.transformer.metrics import Metrics
from serving.transformer.missing import MissingCaptions
from serving.transformer.own_rows import OwnRows
from serving.transformer.predictor import Predictor, open_channel
from serving.transformer.ranker import Ranker
from serving.transformer.settings import Settings
from serving.transformer.stores import StoreConnection

LARGEST_MESSAGE = 64 << 20


def channel_to(host: str, settings: Settings) -> grpc.aio.Channel:
    """A channel to a Triton."""
    file = settings.predictor_ca_file
    return open_channel(
        host,
        max(settings.max_body_bytes, LARGEST_MESSAGE),
        authorities=None if file is None else file.read_bytes(),
        name=settings.predictor_tls_name,
    )


def predictor_over(channel: grpc.aio.Channel, settings: Settings, metrics: Metrics) -> Predictor:
    """The predictor of a channel."""
    return Predictor(
        channel,
        retries=settings.predictor_request_retries,
        retry_after=settings.retry_after_seconds,
        clock=time.monotonic,
        uniform=random.uniform,
        on_retry=metrics.predictor_retries.inc,
    )


def rows_of(settings: Settings, bundle: Bundle, store: StoreConnection) -> OwnRows:
    """The store's rows as far as they are the bundle's. Not for several threads, as the connection is not."""
    name, keys = f"{bundle.manifest.name} ({bundle.id[:19]})", read_user_keys(os.environ)
    return OwnRows(store, name, bundle.manifest, settings.any_data, keys)


def features_of(settings: Settings, bundle: Bundle, rows: OwnRows, missing: MissingCaptions) -> FeatureBuilder:
    """What encodes requests by the bundle's contract, with a cache of its own. Raises `ContractError`."""
    tokenizer = None
    if bundle.contract.caption is not None and bundle.tokenizer is not None:
        tokenizer = CaptionTokenizer.from_bytes(bundle.tokenizer, bundle.contract.caption.tokenizer_sha256)
    return FeatureBuilder(
        bundle.contract,
        tokenizer,
        rows,
        cache_rows=settings.cache_items,
        on_captioned=missing.captioned,
        on_missing=missing.missed,
    )


def ranker_of(
    settings: Settings,
    name: str,
    bundle: Bundle,
    features: FeatureBuilder,
    predictor: Predictor,
    metrics: Metrics,
    *,
    in_triton: str,
    report: Callable[[str, Verdict], None],
) -> Ranker:
    """The ranker `name` of the bundle that Triton serves as `in_triton`; `report` hears of its handshake."""
    handshake = Handshake(
        in_triton,
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
        bundle.id,
        features,
        predictor,
        handshake,
        metrics,
        in_triton=in_triton,
        clock=time.monotonic,
        timeout=settings.predictor_request_timeout_seconds,
    )
