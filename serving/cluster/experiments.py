"""Experiments in a cluster, as the API gives and takes them: create, read, list, change, follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes import watch
from kubernetes.client.exceptions import ApiException

from serving.cluster.connection import TIMEOUT_SECONDS, Cluster
from serving.cluster.errors import ClusterError, ConflictError, DeniedError, MissingError

Object = dict[str, Any]
GROUP, VERSION, KIND, PLURAL = "sightline.dev", "v1alpha1", "Experiment", "experiments"
API_VERSION = f"{GROUP}/{VERSION}"
_ATTEMPTS = 5
_WATCH_SECONDS = 240
"""A watch is asked for anew after so long: what lies between may drop an idle connection silently."""
_MERGE = "application/merge-patch+json"


def create(cluster: Cluster, body: Object, namespace: str) -> Object:
    """Create an Experiment. Raises ConflictError if the name is taken, ClusterError."""
    name = body["metadata"]["name"]
    with cluster.doing(f"create Experiment {name} in {namespace}", KIND, name):
        made: Object = cluster.custom.create_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, body, field_validation="Strict", _request_timeout=TIMEOUT_SECONDS
        )
        return made


def read(cluster: Cluster, name: str, namespace: str, *, seconds: float = TIMEOUT_SECONDS) -> Object:
    """An Experiment, within so many seconds. Raises MissingError if there is none, ClusterError."""
    with cluster.doing(f"read Experiment {name} in {namespace}", KIND, name):
        found: Object = cluster.custom.get_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, name, _request_timeout=seconds
        )
        return found


def reach(cluster: Cluster, *, seconds: float = TIMEOUT_SECONDS) -> None:
    """See that Experiments of the cluster's namespace can be listed. Raises ClusterError."""
    with cluster.doing(f"list Experiments in {cluster.namespace}", KIND):
        cluster.custom.list_namespaced_custom_object(
            GROUP, VERSION, cluster.namespace, PLURAL, limit=1, _request_timeout=seconds
        )


def list_experiments(cluster: Cluster, namespace: str | None, *, everywhere: bool = False) -> list[Object]:
    """The Experiments of a namespace, or of all, newest first. Raises ClusterError."""
    place = namespace or cluster.namespace
    with cluster.doing(f"list Experiments in {'all namespaces' if everywhere else place}", KIND):
        given = {"_request_timeout": TIMEOUT_SECONDS}
        if everywhere:
            found = cluster.custom.list_cluster_custom_object(GROUP, VERSION, PLURAL, **given)
        else:
            found = cluster.custom.list_namespaced_custom_object(GROUP, VERSION, place, PLURAL, **given)
    items: list[Object] = found["items"]
    return sorted(items, key=lambda each: str(each["metadata"].get("creationTimestamp", "")), reverse=True)


def change(cluster: Cluster, name: str, namespace: str, make: Callable[[Object], Object]) -> Object:
    """Change an Experiment by a merge patch that `make` derives from it; what changed meanwhile is read again.

    Args:
        make: gives the patch for the object as it is now; it may raise to refuse. An empty patch changes nothing.

    Raises:
        MissingError: there is none. ConflictError: it changed again and again meanwhile. ClusterError.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        found = read(cluster, name, namespace)
        patch = make(found)
        if not patch:
            return found
        try:
            return _patch(cluster, found, patch)
        except ConflictError as error:
            if attempt == _ATTEMPTS:
                raise ConflictError(f"{error}; it changed {_ATTEMPTS} times meanwhile: try again") from error
    raise AssertionError("the loop returns or raises")


def follow(
    cluster: Cluster,
    name: str,
    namespace: str,
    *,
    patience_seconds: float = 300.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Object]:
    """The Experiment now, then every time it changes, until it is deleted. Ends of the stream are bridged.

    Args:
        patience_seconds: how long the API may be away before the error is passed on.

    Raises:
        MissingError: there is none. ClusterError: the API refuses, or does not answer for too long.
    """
    found = read(cluster, name, namespace)
    yield found
    away, shown = 0.0, found["metadata"]["resourceVersion"]
    while True:
        try:
            for kind, each in _stream(cluster, name, namespace, shown):
                if kind == "DELETED":
                    return
                away, shown = 0.0, each["metadata"]["resourceVersion"]
                yield each
            found, away = read(cluster, name, namespace), 0.0  # also after a stream too old to be continued
        except MissingError:
            return
        except DeniedError:
            raise
        except ClusterError:
            away += 5.0
            if away > patience_seconds:
                raise
            sleep(5.0)
            continue
        if found["metadata"]["resourceVersion"] != shown:
            shown = found["metadata"]["resourceVersion"]
            yield found


def _stream(cluster: Cluster, name: str, namespace: str, version: str) -> Iterator[tuple[str, Object]]:
    """Changes after that version, until the server ends the stream or has forgotten the version."""
    with cluster.doing(f"watch Experiment {name} in {namespace}", KIND, name):
        try:
            for event in watch.Watch().stream(
                cluster.custom.list_namespaced_custom_object,
                GROUP,
                VERSION,
                namespace,
                PLURAL,
                field_selector=f"metadata.name={name}",
                resource_version=version,
                timeout_seconds=_WATCH_SECONDS,
                _request_timeout=(TIMEOUT_SECONDS, _WATCH_SECONDS + TIMEOUT_SECONDS),
            ):
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    yield event["type"], event["object"]
        except ApiException as error:
            if error.status != 410:
                raise


def _patch(cluster: Cluster, found: Object, patch: Object) -> Object:
    metadata = found["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    guarded = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": metadata["resourceVersion"]}}
    with cluster.doing(f"change Experiment {name} in {namespace}", KIND, name):
        changed: Object = cluster.custom.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            guarded,
            _content_type=_MERGE,
            _request_timeout=TIMEOUT_SECONDS,
        )
        return changed
