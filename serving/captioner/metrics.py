"""The service's own counters in Prometheus text, kept in the ingress replica.

Ray's own metrics need its agent and a scraper of it, which a single machine does not have; these do not.
Model replicas send what they measured back with their answers, so that one place knows everything about the
requests it took. With several ingress replicas a scrape reaches one of them: the label `replica` keeps
their series apart, so that `sum(rate(...))` over a window of many scrapes is right and no counter seems to
go backwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from serving.captioner.admission import ANIMATED, NO_END, PROFILE_IGNORED

CONTENT_TYPE = CONTENT_TYPE_LATEST
NOTES = {ANIMATED: "animated", NO_END: "no_end", PROFILE_IGNORED: "profile_ignored"}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meter:
    """Counters and histograms of one ingress replica, in a registry of its own."""

    def __init__(self, replica: str) -> None:
        self._registry = CollectorRegistry()
        self._replica = replica
        name, registry = "sightline_captioner", self._registry
        self._images = Counter(
            f"{name}_images_total",
            "Images by outcome: ok, or the code of the error they were answered with.",
            ("replica", "code"),
            registry=registry,
        )
        self._notes = Counter(
            f"{name}_notes_total",
            "Images that were taken, and not as they are: animated, no_end, profile_ignored.",
            ("replica", "note"),
            registry=registry,
        )
        self._requests = Counter(
            f"{name}_requests_total",
            "Caption requests by HTTP status.",
            ("replica", "status"),
            registry=registry,
        )
        self._request_seconds = self._histogram(
            f"{name}_request_seconds", "Seconds from a caption request's first byte to its answer.", _SECONDS
        )
        self._decode_seconds = self._histogram(
            f"{name}_decode_seconds",
            "Seconds to admit and decode one image, waiting for a thread included.",
            _SECONDS,
        )
        self._batch_seconds = self._histogram(f"{name}_batch_seconds", "Seconds of one batch in the model.", _SECONDS)
        self._batch_images = self._histogram(f"{name}_batch_images", "Images of one batch in the model.", _IMAGES)
        self._held = Gauge(f"{name}_requests_held", "Caption requests in progress.", ("replica",), registry=registry)
        self._held.labels(replica).set(0)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, ("replica",), buckets=buckets, registry=self._registry)

    def image(self, code: str) -> None:
        """Count one image by its outcome, `ok` or an error code."""
        self._images.labels(self._replica, code).inc()

    def noted(self, notes: Sequence[str]) -> None:
        """Count an image's notes, as `serving.captioner.admission` words them."""
        for note in notes:
            self._notes.labels(self._replica, NOTES[note]).inc()

    def request(self, status: int, seconds: float) -> None:
        """Count one caption request and its duration in seconds."""
        self._requests.labels(self._replica, str(status)).inc()
        self._request_seconds.labels(self._replica).observe(seconds)

    def decoded(self, seconds: float) -> None:
        """Record the seconds that one image took to be admitted and decoded."""
        self._decode_seconds.labels(self._replica).observe(seconds)

    def batch(self, images: int, seconds: float) -> None:
        """Record one batch of the model: its number of images and its seconds."""
        self._batch_images.labels(self._replica).observe(images)
        self._batch_seconds.labels(self._replica).observe(seconds)

    def held(self, change: int) -> None:
        """Add `change` (+1 or -1) to the number of requests in progress."""
        self._held.labels(self._replica).inc(change)

    def text(self) -> bytes:
        """The exposition text, of content type `CONTENT_TYPE`."""
        return generate_latest(self._registry)
