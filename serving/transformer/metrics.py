"""What the transformer counts. Names are a promise: README.md lists them, a test compares."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from models.experiments.latency import SECONDS
from serving.transformer.arm_metrics import ArmMetrics


class Metrics:
    """The transformer's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sightline_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"sightline_{name}", text, labels, registry=registry, buckets=SECONDS)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"sightline_{name}", text, labels, registry=registry)

        self.requests = counter("requests", "Calls, by protocol and outcome", "model", "protocol", "outcome")
        self.request_seconds = histogram("request_seconds", "Seconds of a call", "model", "protocol")
        self.predictor_seconds = histogram("predictor_seconds", "Seconds until Triton's scores", "model")
        self.predictor_retries = counter("predictor_retries", "Calls to Triton that were repeated")
        self.candidates = counter("candidates", "Candidates scored", "model")
        self.captions = counter("captions", "Candidates by caption: known, inline, missing", "model", "caption")
        self.unknown_items = counter("unknown_items", "Candidates that the store does not have", "model")
        self.unknown_users = counter("unknown_users", "Rankings for a user the store does not have", "model")
        self.degraded = counter("degraded", "Rankings that were degraded, by reason", "model", "reason")
        self.cache = counter("item_cache", "Item rows by cache result: hit, miss", "model", "result")
        self.ready = gauge("model_ready", "1 when Triton serves the contract of the bundle", "model")
        self.store_up = gauge("item_store_up", "1 when the item store answers")
        self.wanted = gauge("captions_wanted", "Items that wait in the list for the captioning step")
        self.arms = ArmMetrics(registry)
