"""All ports of one experiment's controller, in one hand."""

from __future__ import annotations

from dataclasses import dataclass

from serving.rollout.experiment.ports import (
    Assignments,
    Bundles,
    Clock,
    Cluster,
    Guardrails,
    MetricSource,
    Notices,
)


@dataclass(frozen=True, slots=True)
class World:
    """What `reconcile` observes and acts on."""

    clock: Clock
    bundles: Bundles
    cluster: Cluster
    assignments: Assignments
    metrics: MetricSource
    guardrails: Guardrails
    notices: Notices
