"""The way into a cluster, and its refusals as one kind of error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from serving.cluster.errors import ClusterError, ConflictError, DeniedError, MissingError

TIMEOUT_SECONDS = 20.0
_KINDS = {401: DeniedError, 403: DeniedError, 404: MissingError, 409: ConflictError}
_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Cluster:
    """The APIs that Jobs and Experiments need, and the namespace where one is not named."""

    batch: Any
    core: Any
    custom: Any
    storage: Any
    namespace: str
    host: str

    @contextmanager
    def doing(self, what: str, kind: str = "", name: str = "") -> Iterator[None]:
        """Turn what goes wrong in the block into a `ClusterError`; `what` is such as "create Job train in shop"."""
        try:
            yield
        except ApiException as error:
            raise _KINDS.get(error.status, ClusterError)(f"cannot {what}: {_told(error, kind, name)}") from error
        except HTTPError as error:
            raise ClusterError(
                f"cannot {what}: the API server {self.host} does not answer ({_root(error)}); "
                "is the cluster up, and reachable from here?"
            ) from error


def connect(context: str | None = None, namespace: str | None = None) -> Cluster:
    """Enter the cluster of the kubeconfig's context, the current one if None; in a pod without kubeconfig, its own.

    Raises:
        ClusterError: there is no kubeconfig, it is damaged, or has no such context.
    """
    settings = client.Configuration()
    settings.retries = False  # urllib3 would try three times more, each as long as the timeout
    try:
        found = _enter(settings, context)
    except (ConfigException, OSError, ValueError) as error:
        raise ClusterError(
            f"no way into a cluster: {error}; set KUBECONFIG to a kubeconfig file, or --context to one of its contexts"
        ) from error
    api = client.ApiClient(settings)
    apis = (client.BatchV1Api(api), client.CoreV1Api(api), client.CustomObjectsApi(api), client.StorageV1Api(api))
    return Cluster(*apis, namespace or found, settings.host)


def _enter(settings: Any, context: str | None) -> str:
    """Fill in the settings, return the namespace that goes with them."""
    if context is None and not _has_kubeconfig() and _IN_POD.exists():
        config.load_incluster_config(settings)
        return _IN_POD.read_text().strip()
    config.load_kube_config(client_configuration=settings, context=context)
    contexts, active = config.list_kube_config_contexts()
    chosen = active if context is None else next(each for each in contexts if each["name"] == context)
    return str(chosen["context"].get("namespace") or "default")


def _has_kubeconfig() -> bool:
    return any(Path(place).expanduser().exists() for place in config.KUBE_CONFIG_DEFAULT_LOCATION.split(os.pathsep))


@dataclass(frozen=True)
class _Words:
    """What is done about a refusal, by the kind of object."""

    look: str
    delete: str
    none: str = ""


_JOB = _Words("see `sightline job list`", "`sightline job cancel NAME --delete`")
_EXPERIMENT = _Words(
    "see `sightline experiment status`",
    "`kubectl delete experiment`: a running one gives its users stable first",
    "the cluster does not know Experiments: install the chart with experiments.enabled, which brings their definition",
)


def _told(error: ApiException, kind: str, name: str) -> str:
    """What the API server said, and what can be done about it."""
    try:
        said = str(json.loads(error.body or "{}").get("message") or error.reason)
    except (ValueError, AttributeError):
        said = str(error.reason)
    words = _EXPERIMENT if kind == "Experiment" else _JOB
    advice = {
        401: "log in again: the cluster does not accept these credentials",
        403: "ask whoever runs the cluster for a Role that allows it",
        404: f"there is no {kind} {name!r} here: {words.look}, and give --namespace" if name else words.none,
        409: f"{kind} {name!r} exists already: give another name, or delete it first ({words.delete})",
        422: "correct the manifest",
        429: "the API server is busy: try again",
    }.get(error.status, "see the API server's log" if (error.status or 0) >= 500 else "")
    return f"{said} (HTTP {error.status})" + (f"; {advice}" if advice else "")


def _root(error: BaseException) -> str:
    """The innermost reason of urllib3's errors, which wrap one another."""
    while (inner := getattr(error, "reason", None)) and isinstance(inner, BaseException):
        error = inner
    return str(error)
