"""Jobs of this project in a cluster: submit, list, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes.client.exceptions import ApiException

from serving.cluster.connection import TIMEOUT_SECONDS, Cluster
from serving.cluster.errors import ClusterError
from serving.cluster.manifest import QUEUE_LABEL, Object

OURS = "app.kubernetes.io/name=sightline"
_CREATE = {
    "ConfigMap": "create_namespaced_config_map",
    "PersistentVolumeClaim": "create_namespaced_persistent_volume_claim",
    "Service": "create_namespaced_service",
    "ServiceAccount": "create_namespaced_service_account",
}
"""What a Job may need beside it. A Secret is not among them: it does not belong into a file."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """An object that was asked for; `made` is False for one that was there already and was left as it is."""

    kind: str
    name: str
    namespace: str
    made: bool


def submit(cluster: Cluster, objects: Sequence[Object], namespace: str | None = None) -> list[Submitted]:
    """Create the Job, and before it what comes with it.

    Args:
        namespace: where; if None the manifest's own, or the cluster's.

    Raises:
        ClusterError: something cannot be created. What was created before it stays, and the message names it.
    """
    unknown = sorted({each["kind"] for each in objects} - {"Job", *_CREATE})
    if unknown:
        raise ClusterError(
            f"the manifest holds {', '.join(unknown)}; expected a Job and {', '.join(_CREATE)}: use `kubectl create`"
        )
    done: list[Submitted] = []
    for each in sorted(objects, key=lambda one: one["kind"] == "Job"):
        place = namespace or each["metadata"].get("namespace") or cluster.namespace
        try:
            done.append(_create(cluster, each, place))
        except ClusterError as error:
            made = [f"{one.kind} {one.name}" for one in done if one.made]
            raise ClusterError(f"{error}. Created before it: {', '.join(made)}" if made else str(error)) from error
    return done


def list_jobs(
    cluster: Cluster, namespace: str | None, *, everywhere: bool = False, all_jobs: bool = False
) -> list[Any]:
    """The Jobs of this project (with `all_jobs` all), newest first, as the API gives them. Raises `ClusterError`."""
    given = {"_request_timeout": TIMEOUT_SECONDS} | ({} if all_jobs else {"label_selector": OURS})
    if everywhere:
        with cluster.doing("list Jobs in all namespaces"):
            found = cluster.batch.list_job_for_all_namespaces(**given).items
    else:
        place = namespace or cluster.namespace
        with cluster.doing(f"list Jobs in {place}"):
            found = cluster.batch.list_namespaced_job(place, **given).items
    return sorted(found, key=lambda job: job.metadata.creation_timestamp, reverse=True)


def read_job(cluster: Cluster, name: str, namespace: str) -> Any:
    """The Job as the API gives it. Raises `ClusterError`, also when there is none."""
    with cluster.doing(f"read Job {name} in {namespace}", "Job", name):
        return cluster.batch.read_namespaced_job(name, namespace, _request_timeout=TIMEOUT_SECONDS)


def cancel(cluster: Cluster, name: str, namespace: str, delete: bool = False) -> str:
    """Suspend the Job, whose pods then save their state and end; or delete it with its pods. Returns what was done.

    Raises:
        ClusterError: there is none, it has ended, or somebody else decides whether it runs.
    """
    job = read_job(cluster, name, namespace)
    if delete:
        with cluster.doing(f"delete Job {name} in {namespace}", "Job", name):
            cluster.batch.delete_namespaced_job(
                name, namespace, propagation_policy="Background", _request_timeout=TIMEOUT_SECONDS
            )
        return f"Job {name} is deleted; its pods get SIGTERM, save their state and go. What they wrote stays"
    if ended := end_of(job):
        raise ClusterError(f"Job {name} has ended ({ended}); there is nothing to stop. --delete removes it")
    if queue := (job.metadata.labels or {}).get(QUEUE_LABEL):
        raise ClusterError(
            f"Job {name} is in Kueue's queue {queue}, which would start it again; give --delete, "
            "or set spec.active of its Workload to false"
        )
    if job.spec.suspend:
        return f"Job {name} is suspended already; --delete removes it"
    with cluster.doing(f"suspend Job {name} in {namespace}", "Job", name):
        cluster.batch.patch_namespaced_job(
            name, namespace, {"spec": {"suspend": True}}, _request_timeout=TIMEOUT_SECONDS
        )
    again = (
        f"""kubectl --namespace {namespace} patch job {name} --type merge --patch '{{"spec":{{"suspend":false}}}}'"""
    )
    return f"Job {name} is suspended: its pods get SIGTERM, save their state and end. To go on: {again}"


def end_of(job: Any) -> str | None:
    """ "Complete" or "Failed" for a Job that has ended, else None."""
    for condition in job.status.conditions or ():
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return str(condition.type)
    return None


def _create(cluster: Cluster, each: Object, namespace: str) -> Submitted:
    kind, metadata = each["kind"], each["metadata"]
    body = {**each, "metadata": {**metadata, "namespace": namespace}}
    name = str(metadata.get("name") or f"{metadata.get('generateName', '')}…")
    with cluster.doing(f"create {kind} {name} in {namespace}", kind, name):
        if kind == "Job":
            made = cluster.batch.create_namespaced_job(namespace, body, _request_timeout=TIMEOUT_SECONDS)
            return Submitted(kind, made.metadata.name, namespace, made=True)
        try:
            getattr(cluster.core, _CREATE[kind])(namespace, body, _request_timeout=TIMEOUT_SECONDS)
        except ApiException as error:
            if error.status != 409:
                raise
            return Submitted(kind, name, namespace, made=False)
        return Submitted(kind, name, namespace, made=True)
