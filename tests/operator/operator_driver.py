"""Turns of operators on a clock of the test: each can be killed at any request."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import kube_api
import shop
from kube_controllers import Controllers
from prometheus_client import CollectorRegistry

from serving.rollout.evidence.prometheus import PrometheusGuardrails
from serving.rollout.evidence.sql import SqlSource
from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.kubernetes.api import Api
from serving.rollout.kubernetes.book import BookAssignments
from serving.rollout.kubernetes.bundles import StoreBundles
from serving.rollout.kubernetes.config_map import ConfigMapPlace
from serving.rollout.operator.metrics import OperatorMetrics
from serving.rollout.operator.reach import Reach
from serving.rollout.operator.turn import Key, Turns
from serving.rollout.operator.worlds import ClusterWorlds


@dataclass
class ManualClock:
    """Time that the test moves."""

    time: datetime = field(default_factory=lambda: datetime(2026, 11, 24, 8, 0, tzinfo=UTC))

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class CrashError(Exception):
    """The operator was killed at this very request."""


class FaultyClient:
    """A `kubernetes.client.ApiClient` that is killed at requests, before they are sent or after they are done."""

    def __init__(self, client: Any, when: Callable[[str, str], str]) -> None:
        """`when` gets method and URL (without its query), and answers `before`, `after` or nothing."""
        self._client, self._when = client, when

    def param_serialize(self, *given: Any, **named: Any) -> Any:
        return self._client.param_serialize(*given, **named)

    def call_api(self, method: str, url: str, *given: Any, **named: Any) -> Any:
        how = self._when(method, url.partition("?")[0])
        if how == "before":
            raise CrashError
        answer = self._client.call_api(method, url, *given, **named)
        if how == "after":
            answer.read()
            raise CrashError
        return answer


class Anywhere(Reach):
    """Every address and place: what a test names is its own."""

    def refusal(self, spec: ExperimentSpec) -> str:
        return ""

    collector_refusal = prometheus_refusal = refusal

    def check_bundle(self, uri: str) -> None: ...


@dataclass
class Driver:
    """Turns of one operator after another, on the test's clock; the cluster's controllers step in between."""

    api: kube_api.KubeApi
    controllers: Controllers
    clock: ManualClock
    connected: Any
    http: httpx.Client
    when: Callable[[str, str], str] = lambda method, url: ""
    crashes: int = 0
    turns_done: int = 0
    failures: list[str] = field(default_factory=list)
    metrics: OperatorMetrics = field(default_factory=lambda: OperatorMetrics(CollectorRegistry()))

    def turns(self) -> Turns:
        """A new operator's."""
        api = Api(FaultyClient(self.connected, lambda method, url: self.when(method, url)))

        def now(work: Callable[[], None]) -> bool:
            work()
            return True

        worlds = ClusterWorlds(
            api,
            self.http,
            tritons=self.http,
            assignments=BookAssignments(ConfigMapPlace(api, namespace=shop.NAMESPACE, name="sightline-assignments")),
            bundles=StoreBundles(self.reach.check_bundle),
            reach=self.reach,
            guardrails=self.guardrails,
            collector_token=None,
            sql=lambda given: SqlSource(given, folders=()),
            store_secret="",
            clock=self.clock,
            submit=now,
            notice_failed=lambda way: None,
            pause=lambda seconds: None,
        )
        self.worlds.append(worlds)
        return Turns(api, worlds, self.metrics, now=self.clock.now, longest_wait=30.0)

    reach: Reach = field(default_factory=Anywhere)
    guardrails: PrometheusGuardrails = field(default_factory=PrometheusGuardrails)
    worlds: list[ClusterWorlds] = field(default_factory=list)

    def run(self, end: Callable[[], bool], name: str = "captions", most: int = 400) -> None:
        """Turn until the end, a new operator after every crash."""
        turns, key = self.turns(), Key(shop.NAMESPACE, name)
        while not end():
            assert self.turns_done < most, f"no end after {most} turns; failures: {self.failures[-5:]}"
            self.turns_done += 1
            self.controllers.step()
            wait: float | None = 0.0
            try:
                wait = turns.turn(key)
            except CrashError:
                self.crashes += 1
                turns = self.turns()
            except (RetryError, RefusedError) as error:
                self.failures.append(str(error))
                wait = turns.again(key)
            self.clock.advance(wait or 1.0)

    def close(self) -> None:
        self.guardrails.close()
        for each in self.worlds:
            each.close()
