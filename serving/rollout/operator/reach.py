"""What the controller goes to on the word of an Experiment: addresses and bundles that its own settings allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from serving.rollout.evidence.bounded import redacted
from serving.rollout.experiment.ports import RefusedError
from serving.rollout.experiment.spec import ExperimentSpec

PLACES = ("s3://", "gs://", "/mnt/store/", "/opt/sightline/demo/")
"""Buckets, the claim of the model store where it is mounted, and the demo of the image."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Base URLs of collectors and of Prometheus; beginnings of bundles' URIs and paths."""

    collectors: Sequence[str] = ()
    prometheus: Sequence[str] = ()
    bundles: Sequence[str] = PLACES

    def refusal(self, spec: ExperimentSpec) -> str:
        """Which address of the evidence is not allowed, and what to do; empty where all are."""
        return self.collector_refusal(spec) or self.prometheus_refusal(spec)

    def collector_refusal(self, spec: ExperimentSpec) -> str:
        """The same of spec.evidence.collector alone."""
        given = spec.evidence.collector
        return _refused("spec.evidence.collector", given, self.collectors, "--collectors", "collectors")

    def prometheus_refusal(self, spec: ExperimentSpec) -> str:
        """The same of spec.evidence.prometheus alone."""
        given = spec.evidence.prometheus
        return _refused("spec.evidence.prometheus", given, self.prometheus, "--prometheus", "prometheus")

    def check_bundle(self, uri: str) -> None:
        """Raises RefusedError for a bundle that is elsewhere than in `bundles`."""
        _, mark, rest = uri.partition("://")
        shown = redacted(uri)
        if mark and "@" in rest.partition("/")[0]:
            raise RefusedError(
                f"spec.candidate.bundle is {shown}, with a user or password in it, which every reader of Experiments "
                "sees; leave them out: credentials come from the Secret in experiments.candidates.credentialsSecret"
            )
        path = rest if mark else uri
        crooked = ".." in path.split("/") or "::" in uri or (not mark and not uri.startswith("/"))
        if crooked or not any(_within(uri, place) for place in self.bundles):
            raise RefusedError(
                f"spec.candidate.bundle is {shown}, and the controller takes bundles from {_listed(self.bundles)}; "
                "publish it there, or allow the place by the controller's --bundles (experiments.candidates.places)"
            )


def _within(uri: str, place: str) -> bool:
    return uri.startswith(place) if place.endswith("/") else uri == place or uri.startswith(f"{place}/")


def _refused(field: str, given: str | None, allowed: Sequence[str], setting: str, value: str) -> str:
    if given is None or _plain(given) in {_plain(each) for each in allowed}:
        return ""
    return (
        f"{field} is {redacted(given)!r}, and the controller asks {_listed(allowed)} alone: it would give others its "
        f"token and show their answers; name one of these, or allow it by the controller's {setting} "
        f"(experiments.controller.{value})"
    )


def _plain(url: str) -> str:
    """As addresses are compared; one that is no URL, or has a user in it, equals none but itself."""
    try:
        found = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL:
        return f"{url!r} is no URL"
    return str(found)


def _listed(allowed: Sequence[str]) -> str:
    return ", ".join(map(redacted, allowed)) or "none (its settings name none)"
