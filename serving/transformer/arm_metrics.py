"""What is counted of experiments. Names and labels are a promise: guardrails and dashboards ask for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from models.experiments.latency import SECONDS

_DIFFERENCE = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1)
_OVERLAP = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1)  # tenths lie inside, not on the edge
_ARM = ("model", "experiment", "arm")

OK, FALLBACK, FAILED, DROPPED = "ok", "fallback", "failed", "dropped"


@dataclass(frozen=True, slots=True)
class ArmCounters:
    """What every ranking of an enrolled user is counted by, of one arm: `requests` by outcome."""

    requests: Mapping[str, Counter]
    seconds: Histogram
    degraded: Counter


class ArmMetrics:
    """Metrics of arms, shadows, assignments and exposures, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sightline_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"sightline_{name}", text, _ARM, registry=registry, buckets=buckets)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"sightline_{name}", text, labels, registry=registry)

        self.requests = counter(
            "arm_requests", "Rankings of enrolled users by the user's arm: ok, fallback, failed", *_ARM, "outcome"
        )
        self.seconds = histogram("arm_seconds", "Seconds of such a ranking", SECONDS)
        self.degraded = counter("arm_degraded", "Such rankings that were degraded", *_ARM)
        self.failures = counter(
            "arm_failures", "Rankings that an arm owed and did not give, by reason", *_ARM, "reason"
        )
        self.ready = gauge("arm_ready", "1 when the arm's Triton serves the contract of its bundle", *_ARM)
        self.shadow = counter(
            "shadow", "Rankings that the candidate scored unseen: ok, failed, dropped", *_ARM, "outcome"
        )
        self.shadow_difference = histogram("shadow_difference", "Mean absolute difference of their scores", _DIFFERENCE)
        self.shadow_overlap = histogram("shadow_overlap", "Share of the best ten in common", _OVERLAP)
        self.revision = gauge("assignment_revision", "Revision by which users are placed", "model", "experiment")
        self.assignment_age = gauge("assignment_age_seconds", "Seconds since the assignments were last read")
        self.assignment_failures = counter(
            "assignment_failures", "Readings of the assignments that failed or were refused"
        )
        self.exposures = counter("exposures", "Exposures: queued, dropped, written, failed", "model", "result")
        self.exposures_waiting = gauge("exposures_waiting", "Exposures in the queue")

    def of_arm(self, model: str, experiment: str, arm: str) -> "ArmCounters":
        """The arm's own, found once: looking labels up takes longer than counting."""
        labels = (model, experiment, arm)
        return ArmCounters(
            {outcome: self.requests.labels(*labels, outcome) for outcome in (OK, FALLBACK, FAILED)},
            self.seconds.labels(*labels),
            self.degraded.labels(*labels),
        )

    def forget_arm(self, model: str, experiment: str, arm: str) -> None:
        """Show no state of an arm that is gone; what was counted stays."""
        self.ready.remove(model, experiment, arm)

    def forget_experiment(self, model: str, experiment: str) -> None:
        """Show no state of an experiment that is gone."""
        self.revision.remove(model, experiment)
