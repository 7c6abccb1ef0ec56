"""Whether what a Job writes outlives its pod, seen in its manifest and in the cluster before it is made."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

from serving.cluster.connection import TIMEOUT_SECONDS, Cluster
from serving.cluster.errors import DeniedError, MissingError
from serving.cluster.manifest import Object, main_container

_KEPT = {"--work": "checkpoints", "--out": "results", "--out-store": "published bundles"}
_DEFAULT = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def without_claims_that_wait(
    cluster: Cluster, objects: Sequence[Object], namespace: str | None
) -> tuple[list[Object], list[str]]:
    """The objects as this cluster can run them, and a sentence for each claim that it cannot provide.

    A claim that names no StorageClass waits for ever where none is the default. The Job then gets an emptyDir in its
    place. Who may not ask for StorageClasses is taken to have one.

    Raises:
        ClusterError: the API does not answer.
    """
    claims = [each for each in objects if each["kind"] == "PersistentVolumeClaim" and _wants_default(each)]
    missing = [each for each in claims if not _exists(cluster, each, namespace)]
    if not missing or _has_default(cluster):
        return list(objects), []
    names = {each["metadata"]["name"] for each in missing}
    kept = [copy.deepcopy(each) for each in objects if each not in missing]
    for volume in _volumes(next(each for each in kept if each["kind"] == "Job")):
        if volume.get("persistentVolumeClaim", {}).get("claimName") in names:
            del volume["persistentVolumeClaim"]
            volume["emptyDir"] = {}
    said = "this cluster has no default StorageClass: claim {} is not made, and the Job gets an emptyDir in its place"
    return kept, [said.format(name) for name in sorted(names)]


def fleeting(objects: Sequence[Object]) -> Iterator[str]:
    """A sentence for each place of the Job's results that goes with its pod."""
    job = next(each for each in objects if each["kind"] == "Job")
    container, volumes = main_container(job), {each["name"]: each for each in _volumes(job)}
    mounts = {str(each["mountPath"]): volumes.get(each["name"], {}) for each in container.get("volumeMounts", [])}
    for option, place in _options(container):
        if "://" in place:
            continue
        below = [point for point in mounts if PurePosixPath(place).is_relative_to(point)]
        volume = mounts[max(below, key=len)] if below else {}
        if not below or "emptyDir" in volume:
            where = "an emptyDir" if below else "the container itself"
            yield (
                f"{option} {place} lies in {where}: the {_KEPT[option]} go with the pod, and a replaced pod starts "
                "over. Use a PersistentVolumeClaim" + ("" if option == "--work" else ", or s3://…")
            )


def _options(container: Object) -> Iterator[tuple[str, str]]:
    words = [str(each) for each in container.get("args", [])]
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        if name in _KEPT:
            yield name, value if equals else following


def _volumes(job: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job["spec"]["template"]["spec"].get("volumes", [])
    return found


def _wants_default(claim: Object) -> bool:
    return claim.get("spec", {}).get("storageClassName") is None


def _exists(cluster: Cluster, claim: Object, namespace: str | None) -> bool:
    name, place = claim["metadata"]["name"], namespace or claim["metadata"].get("namespace") or cluster.namespace
    try:
        with cluster.doing(f"read claim {name} in {place}", "PersistentVolumeClaim", name):
            cluster.core.read_namespaced_persistent_volume_claim(name, place, _request_timeout=TIMEOUT_SECONDS)
    except (DeniedError, MissingError):
        return False
    return True


def _has_default(cluster: Cluster) -> bool:
    try:
        with cluster.doing("list StorageClasses"):
            found = cluster.storage.list_storage_class(_request_timeout=TIMEOUT_SECONDS).items
    except DeniedError:
        return True
    return any((each.metadata.annotations or {}).get(name) == "true" for each in found for name in _DEFAULT)
