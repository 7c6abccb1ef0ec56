"""How a Job is: its phase, its attempts, and what each of them said when it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.cluster.connection import TIMEOUT_SECONDS, Cluster
from serving.cluster.jobs import end_of, read_job

JOB_LABEL = "batch.kubernetes.io/job-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
COMPONENT = "app.kubernetes.io/component"
MEANINGS = {
    0: "done",
    1: "failed, and would fail again",
    2: "wrong usage",
    69: "something it needs was away",
    75: "interrupted, its state is saved",
    137: "killed (SIGKILL; out of memory?)",
    143: "ended by SIGTERM",
}
"""Exit codes of our Jobs (`models.termination`), and of a container that was killed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A pod of a Job.

    Attributes:
        index: of an Indexed Job's shard. phase: the pod's. why: why it waits, or why its container ended.
        message: the termination message: a document, or text where the container left none.
    """

    pod: str
    index: int | None
    phase: str
    started: str | None
    exit_code: int | None
    why: str | None
    message: Mapping[str, Any] | str | None

    @property
    def meaning(self) -> str:
        """The exit code in words."""
        return "" if self.exit_code is None else MEANINGS.get(self.exit_code, "failed")


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A Job and its attempts, oldest first."""

    name: str
    namespace: str
    kind: str
    phase: str
    why: str | None
    created: str
    completions: int
    succeeded: int
    failed: int
    attempts: Sequence[Attempt]


def status(cluster: Cluster, name: str, namespace: str) -> JobStatus:
    """A Job's status. Raises `ClusterError`, also when there is no such Job."""
    job = read_job(cluster, name, namespace)
    pods = pods_of(cluster, name, namespace)
    return summary(job, [_attempt(pod) for pod in pods])


def pods_of(cluster: Cluster, name: str, namespace: str) -> list[Any]:
    """A Job's pods that are still known, oldest first. Raises `ClusterError`."""
    selector = f"{JOB_LABEL}={name}"
    with cluster.doing(f"list the pods of Job {name} in {namespace}"):
        found = cluster.core.list_namespaced_pod(
            namespace, label_selector=selector, _request_timeout=TIMEOUT_SECONDS
        ).items
    return sorted(found, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))


def summary(job: Any, attempts: Sequence[Attempt] = ()) -> JobStatus:
    """A Job in short."""
    phase, why = _phase(job, attempts)
    return JobStatus(
        name=job.metadata.name,
        namespace=job.metadata.namespace,
        kind=(job.metadata.labels or {}).get(COMPONENT, "-"),
        phase=phase,
        why=why,
        created=job.metadata.creation_timestamp.isoformat(timespec="seconds"),
        completions=1 if job.spec.completions is None else int(job.spec.completions),
        succeeded=int(job.status.succeeded or 0),
        failed=int(job.status.failed or 0),
        attempts=attempts,
    )


def _phase(job: Any, attempts: Sequence[Attempt]) -> tuple[str, str | None]:
    """done, failed, suspended, running or waiting; and why, where there is a reason."""
    ended = end_of(job)
    if ended:
        said = next(each for each in job.status.conditions if each.type == ended)
        return ("done", None) if ended == "Complete" else ("failed", f"{said.reason}: {said.message}")
    if job.spec.suspend:
        return "suspended", "until Kueue admits it, or somebody sets spec.suspend to false"
    if any(each.phase == "Running" for each in attempts) or (not attempts and job.status.active):
        return "running", None
    waiting = [each.why for each in attempts if each.phase == "Pending" and each.why]
    return "waiting", waiting[-1] if waiting else None


def _attempt(pod: Any) -> Attempt:
    index = (pod.metadata.labels or {}).get(INDEX_LABEL)
    container = _main(pod)
    state = container.state if container else None
    last = container.last_state if container else None
    ended = (state.terminated if state else None) or (last.terminated if last else None)
    started = pod.status.start_time
    return Attempt(
        pod=pod.metadata.name,
        index=int(index) if index is not None else None,
        phase=pod.status.phase or "Unknown",
        started=started.isoformat(timespec="seconds") if started else None,
        exit_code=ended.exit_code if ended else None,
        why=ended.reason if ended else _waits_for(pod, state),
        message=_message(ended.message) if ended else None,
    )


def _main(pod: Any) -> Any:
    """The status of the container that does the work."""
    found = pod.status.container_statuses or ()
    component = (pod.metadata.labels or {}).get(COMPONENT)
    return next((each for each in found if each.name == component), found[0] if found else None)


def _waits_for(pod: Any, state: Any) -> str | None:
    if state and state.waiting:
        return ": ".join(part for part in (state.waiting.reason, state.waiting.message) if part)
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {condition.message}"
    return None


def _message(text: str | None) -> Mapping[str, Any] | str | None:
    """Our Jobs leave a JSON document; a container that was killed leaves the end of its log."""
    try:
        document = json.loads(text or "")
    except ValueError:
        return text or None
    return document if isinstance(document, dict) else text
