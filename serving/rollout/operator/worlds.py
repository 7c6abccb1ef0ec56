"""The world of one experiment: the ports of its controller, as its resource and the operator's settings say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.evidence.prometheus import PrometheusGuardrails
from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.experiment.ports import Assignments, Bundles, Clock, Cluster, MetricSource
from serving.rollout.experiment.spec import SqlEvidence
from serving.rollout.experiment.world import World
from serving.rollout.kubernetes.api import Api
from serving.rollout.kubernetes.deployment import DeploymentTarget
from serving.rollout.kubernetes.inference_service import InferenceServiceTarget
from serving.rollout.kubernetes.notices import EventNotices, Submit
from serving.rollout.kubernetes.objects import Owner
from serving.rollout.report.resource import Resource, ResourceError


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time now, UTC."""
        return datetime.now(UTC)


class ClusterWorlds:
    """Makes worlds in a cluster. What is costly to make (connections, what was verified) is shared by all of them."""

    def __init__(
        self,
        api: Api,
        http: httpx.Client,
        *,
        assignments: Assignments,
        bundles: Bundles,
        guardrails: PrometheusGuardrails,
        collector_token: str | None,
        sql: Callable[[SqlEvidence], MetricSource],
        store_secret: str,
        clock: Clock,
        submit: Submit,
        notice_failed: Callable[[str], None],
        pause: Callable[[float], None],
    ) -> None:
        self._api, self._http = api, http
        self._assignments, self._bundles, self._guardrails = assignments, bundles, guardrails
        self._sql = sql
        self._token, self._store_secret = collector_token, store_secret
        self._submit, self._notice_failed, self._pause = submit, notice_failed, pause
        self._collectors: dict[str, CollectorEvidence] = {}
        self._lock = threading.Lock()
        self._clock = clock

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
                self._http,
                owner=owner,
                service=target.name,
                model=target.model,
                bundle=candidate.bundle,
                replicas=candidate.replicas,
                store_secret=self._store_secret,
            )
        return DeploymentTarget(
            self._api,
            self._http,
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
        with self._lock:
            if source.collector not in self._collectors:
                try:
                    made = CollectorEvidence(source.collector, token=self._token)
                except EvidenceError as error:
                    raise ResourceError(f"Experiment {resource.name}: spec.evidence.collector: {error}") from error
                self._collectors[source.collector] = made
            return self._collectors[source.collector]
