"""Puts the operator's parts together."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from models.experiments.events import KEY_VARIABLE
from serving.cluster.connection import connect
from serving.ranker.command import RESTRICTION_HEADER
from serving.rollout.evidence.collector import TOKEN_VARIABLE
from serving.rollout.evidence.prometheus import PrometheusGuardrails
from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.ports import MetricSource
from serving.rollout.experiment.spec import SqlEvidence
from serving.rollout.kubernetes.api import Api
from serving.rollout.kubernetes.book import BookAssignments, Place
from serving.rollout.kubernetes.bundles import StoreBundles
from serving.rollout.kubernetes.config_map import ConfigMapPlace
from serving.rollout.kubernetes.redis_key import RedisPlace
from serving.rollout.operator.agenda import Agenda
from serving.rollout.operator.dispatch import Dispatcher
from serving.rollout.operator.errands import Errands
from serving.rollout.operator.lease import Elector
from serving.rollout.operator.metrics import OperatorMetrics
from serving.rollout.operator.resync import Resync
from serving.rollout.operator.settings import Settings
from serving.rollout.operator.turn import Key, Turns
from serving.rollout.operator.worlds import ClusterWorlds, SystemClock
from serving.tls import believed


@dataclass(frozen=True, slots=True)
class Built:
    """The operator. `agenda` is told what has changed; the others are run."""

    namespaces: tuple[str, ...]
    elector: Elector
    agenda: Agenda[Key]
    resync: Resync
    dispatcher: Dispatcher
    errands: Errands
    metrics: OperatorMetrics
    registry: CollectorRegistry
    opened: ExitStack

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close what was opened when the block ends."""
        with self.opened:
            yield


def build(settings: Settings, environment: Mapping[str, str] = os.environ) -> Built:
    """The operator by its settings. Raises ClusterError: no way into a cluster; TlsError: authorities that are none."""
    clock, registry, opened = SystemClock(), CollectorRegistry(), ExitStack()
    entered = connect()
    client: Any = entered.core.api_client
    elector = Elector(
        Api(client),
        namespace=settings.lease_namespace or entered.namespace,
        name=settings.lease,
        identity=settings.identity or socket.gethostname(),
        seconds=settings.lease_seconds,
        now=clock.now,
        monotonic=time.monotonic,
        owner=settings.lease_owner or settings.lease,
    )
    api = Api(client, before_writing=elector.require)
    metrics, errands = OperatorMetrics(registry), Errands()
    guardrails = PrometheusGuardrails(refusal=settings.reach.prometheus_refusal)
    opened.callback(guardrails.close)
    http = opened.enter_context(httpx.Client(trust_env=False, follow_redirects=False))
    tritons = opened.enter_context(httpx.Client(headers=_key(settings), trust_env=False, follow_redirects=False))
    worlds = ClusterWorlds(
        api,
        http,
        tritons=tritons,
        assignments=BookAssignments(_place(settings, api, elector, opened)),
        bundles=StoreBundles(settings.reach.check_bundle),
        guardrails=guardrails,
        reach=settings.reach,
        collector_token=environment.get(TOKEN_VARIABLE),
        collector_verify=believed(environment),
        sql=_sql(settings, environment),
        store_secret=settings.store_secret,
        clock=clock,
        submit=errands.submit,
        notice_failed=metrics.notice_failed,
        pause=time.sleep,
    )
    opened.callback(worlds.close)
    namespaces = tuple(settings.namespaces.split(",")) if settings.namespaces else (entered.namespace,)
    agenda = Agenda[Key](time.monotonic)
    turns = Turns(api, worlds, metrics, now=clock.now, longest_wait=settings.step_seconds)
    dispatcher = Dispatcher(agenda, turns, leading=elector.leading, failed=metrics.failed, workers=settings.workers)
    resync = Resync(
        api, namespaces=namespaces, put=agenda.put, seconds=settings.resync_seconds, monotonic=time.monotonic
    )
    return Built(namespaces, elector, agenda, resync, dispatcher, errands, metrics, registry, opened)


def _key(settings: Settings) -> dict[str, str]:
    """What the candidates' pods want beside an inference."""
    key = settings.triton_key
    return {} if key is None else {RESTRICTION_HEADER: key.get_secret_value()}


def _place(settings: Settings, api: Api, elector: Elector, opened: ExitStack) -> Place:
    scheme, _, rest = settings.assignments.partition("://")
    if scheme == "configmap":
        namespace, _, name = rest.partition("/")
        return ConfigMapPlace(api, namespace=namespace, name=name)
    place = RedisPlace(
        settings.assignments,
        username=settings.redis_username,
        password=settings.redis_password.get_secret_value() if settings.redis_password else None,
        ca_file=settings.redis_ca_file,
        before_writing=elector.require,
    )
    opened.callback(place.close)
    return place


def _sql(settings: Settings, environment: Mapping[str, str]) -> Callable[[SqlEvidence], MetricSource]:
    folders = tuple(filter(None, settings.evidence_folders.split(",")))
    key = environment.get(KEY_VARIABLE, "").encode() or None
    return lambda given: SqlSource(given, folders=folders, memory=settings.evidence_memory, key=key)
