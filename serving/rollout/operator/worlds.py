"""The world of one experiment: the ports of its controller, as its resource and the operator's settings say."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import httpx

from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.evidence.prometheus import PrometheusGuardrails
from serving.rollout.experiment.evidence import Evidence, EvidenceError, EvidenceQuery
from serving.rollout.experiment.ports import Assignments, Bundles, Clock, Cluster, MetricSource
from serving.rollout.experiment.spec import Column, SqlEvidence
from serving.rollout.experiment.world import World
from serving.rollout.kubernetes.api import Api
from serving.rollout.kubernetes.deployment import DeploymentTarget
from serving.rollout.kubernetes.inference_service import InferenceServiceTarget
from serving.rollout.kubernetes.notices import EventNotices, Submit
from serving.rollout.kubernetes.objects import Owner
from serving.rollout.operator.reach import Reach
from serving.rollout.report.resource import Resource, ResourceError
from serving.rollout.statistics.winsor import CapRule, Caps


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time now, UTC."""
        return datetime.now(UTC)


class RefusedEvidence:
    """The port `MetricSource` of a running experiment whose address is allowed no more: users go back."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal

    def evidence(self, query: EvidenceQuery) -> Evidence:
        """Raises EvidenceError."""
        raise EvidenceError(self._refusal)

    def quantiles(
        self, rules: Mapping[Column, CapRule], span: tuple[datetime, datetime], window: timedelta | None = None
    ) -> Caps:
        """Raises EvidenceError."""
        raise EvidenceError(self._refusal)


class ClusterWorlds:
    """Makes worlds in a cluster. What is costly to make (connections, what was verified) is shared by all of them.

    `tritons` asks the candidates' pods, with the key that they want; `http` everybody else.
    """

    def __init__(
        self,
        api: Api,
        http: httpx.Client,
        *,
        tritons: httpx.Client,
        assignments: Assignments,
        bundles: Bundles,
        guardrails: PrometheusGuardrails,
        reach: Reach,
        collector_token: str | None,
        sql: Callable[[SqlEvidence], MetricSource],
        store_secret: str,
        clock: Clock,
        submit: Submit,
        notice_failed: Callable[[str], None],
        pause: Callable[[float], None],
        collector_verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._api, self._http, self._tritons = api, http, tritons
        self._assignments, self._bundles, self._guardrails = assignments, bundles, guardrails
        self._sql = sql
        self._reach = reach
        self._token, self._verify, self._store_secret = collector_token, collector_verify, store_secret
        self._submit, self._notice_failed, self._pause = submit, notice_failed, pause
        self._collectors: dict[str, CollectorEvidence] = {}
        self._lock = threading.Lock()
        self._clock = clock

    @property
    def reach(self) -> Reach:
        """What experiments may name."""
        return self._reach

    def of(self, resource: Resource) -> World:
        """Its ports. Raises ResourceError for a spec that names what cannot be."""
        owner = Owner(resource.name, resource.namespace, resource.uid)
        return World(
            clock=self._clock,
            bundles=self._bundles,
            cluster=self._cluster(resource, owner),
            assignments=self._assignments,
            metrics=self._metrics(resource),
            guardrails=self._guardrails,
            notices=EventNotices(
                self._api,
                self._http,
                owner=owner,
                hooks=resource.spec.notifications,
                component="sightline-operator",
                now=self._clock.now,
                submit=self._submit,
                failed=self._notice_failed,
                pause=self._pause,
            ),
        )

    def close(self) -> None:
        """Close the connections to collectors."""
        with self._lock:
            for collector in self._collectors.values():
                collector.close()

    def _cluster(self, resource: Resource, owner: Owner) -> Cluster:
        # What was followed when the experiment began is what its objects are of; `started` keeps it.
        spec = resource.state.started if resource.state and resource.state.started else resource.spec
        target, candidate = spec.target, spec.candidate
        if target.kind == "InferenceService":
            return InferenceServiceTarget(
                self._api,
                self._tritons,
                owner=owner,
                service=target.name,
                model=target.model,
                bundle=candidate.bundle,
                replicas=candidate.replicas,
                store_secret=self._store_secret,
            )
        return DeploymentTarget(
            self._api,
            self._tritons,
            owner=owner,
            ranker=target.name,
            transformer=target.transformer or "",
            model=target.model,
            bundle=candidate.bundle,
            replicas=candidate.replicas,
            store_secret=self._store_secret,
        )

    def _metrics(self, resource: Resource) -> MetricSource:
        source = resource.spec.evidence
        if source.sql is not None:
            return self._sql(source.sql)
        if source.collector is None:
            raise ResourceError(f"Experiment {resource.name}: spec.evidence has neither collector nor sql")
        if refusal := self._reach.collector_refusal(resource.spec):
            return RefusedEvidence(refusal)
        with self._lock:
            if source.collector not in self._collectors:
                try:
                    made = CollectorEvidence(source.collector, token=self._token, verify=self._verify)
                except EvidenceError as error:
                    raise ResourceError(f"Experiment {resource.name}: spec.evidence.collector: {error}") from error
                self._collectors[source.collector] = made
            return self._collectors[source.collector]
