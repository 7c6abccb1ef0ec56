"""What the collector counts. Names are a promise: README.md lists them, a test compares."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.rollout.collector.faults import RequestError

_COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_EVIDENCE_SECONDS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics:
    """The collector's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.events = Counter(
            "sightline_collector_events",
            "Events by result; late and orphan ones (outcomes of users without exposure so far) are stored too",
            ("kind", "result"),
            registry=registry,
        )
        self.sender_events = Counter(
            "sightline_collector_sender_events",
            "Events by the sender's name and result; `limited` ones came too fast and are not stored",
            ("sender", "result"),
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "sightline_collector_commit_seconds",
            "Seconds of a transaction, its fsync included",
            registry=registry,
            buckets=_COMMIT_SECONDS,
        )
        self.commit_failures = Counter(
            "sightline_collector_commit_failures", "Transactions that were rolled back", registry=registry
        )
        self.rows = Gauge("sightline_collector_rows", "Events that are kept", ("kind",), registry=registry)
        self.names = Gauge(
            "sightline_collector_names", "Different names that are kept, by field", ("field",), registry=registry
        )
        self._names_refused = Counter(
            "sightline_collector_names_refused",
            "Events refused because a field has as many different names as it may (--max-names)",
            ("field",),
            registry=registry,
        )
        self.deleted = Counter(
            "sightline_collector_deleted", "Events deleted: retention, forget", ("reason",), registry=registry
        )
        self.overloads = Counter(
            "sightline_collector_overloads", "Requests refused because too many were waiting", registry=registry
        )
        self.evidence_seconds = Histogram(
            "sightline_collector_evidence_seconds",
            "Seconds until evidence or quantiles were answered, by outcome",
            ("outcome",),
            registry=registry,
            buckets=_EVIDENCE_SECONDS,
        )
        self.waiting = Gauge("sightline_collector_waiting", "Requests with events in progress", registry=registry)
        self.unauthorized = Counter(
            "sightline_collector_unauthorized",
            "Requests refused for want of a right: 401 without a known token, 403 with one of another right",
            ("right", "status"),
            registry=registry,
        )

    def names_refused(self, fields: Iterable[str]) -> None:
        """Count events whose new name in a field was not taken."""
        for field in fields:
            self._names_refused.labels(field).inc()

    @contextmanager
    def refusing(self, right: str) -> Iterator[None]:
        """Count what the block refuses for want of the right."""
        try:
            yield
        except RequestError as refusal:
            self.unauthorized.labels(right, str(refusal.status)).inc()
            raise
