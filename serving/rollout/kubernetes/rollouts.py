"""Whether a Deployment's pods are what its spec says, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.rollout.experiment.ports import CandidateState, Readiness
from serving.rollout.kubernetes.api import Object


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a Deployment is. `stuck`: Kubernetes itself has given up waiting."""

    done: bool
    stuck: bool
    message: str


def rollout(deployment: Object) -> Rollout:
    """How far it is: done when the newest spec was seen, and its pods, and no others, are available."""
    status = deployment.get("status") or {}
    name, wanted = deployment["metadata"]["name"], int(deployment["spec"].get("replicas", 1))
    if int(status.get("observedGeneration", 0)) < int(deployment["metadata"].get("generation", 1)):
        return Rollout(False, False, f"Deployment {name}: its controller has not seen the newest spec")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Rollout(False, True, f"Deployment {name}: {condition.get('message', 'no progress in its time')}")
    there, updated, available = (
        int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas")
    )
    done = there == updated and updated >= wanted and available >= wanted
    return Rollout(done, False, f"Deployment {name}: {available} of {wanted} pods available, {updated} of {there} new")


def candidate_state(deployment: Object, host: str, pods: Sequence[Object]) -> CandidateState:
    """The candidate's readiness by its Deployment; its pods say why it is not ready yet."""
    found = rollout(deployment)
    if found.done:
        return CandidateState(Readiness.READY, host, found.message)
    why = "; ".join(dict.fromkeys(reason for pod in pods if (reason := waits_for(pod))))
    message = f"{found.message}; {why}" if why else found.message
    return CandidateState(Readiness.FAILED if found.stuck else Readiness.STARTING, host, message)


def waits_for(pod: Object) -> str:
    """Why a pod is not ready, in its own words; empty where it does not say."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    for each in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        if told := _troubled(each):
            return f"pod {name}, container {each['name']}: {told}"
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"pod {name}: {condition.get('reason')}: {condition.get('message')}"
    return ""


def _troubled(container: Object) -> str:
    state: dict[str, Any] = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    failed = f"exit code {ended['exitCode']}: {ended.get('message', '').strip()}" if ended.get("exitCode") else ""
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in ("PodInitializing", "ContainerCreating"):
        reason = ""
    return " ".join(filter(None, (reason, waiting.get("message", "") if reason else "", failed)))
