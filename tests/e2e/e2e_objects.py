"""Manifests that the cluster tests make, and what they read out of objects. Pure functions."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LOAD, STOP_FILE = "e2e-load", "/tmp/stop"
SCRIPT = Path(__file__).with_name("e2e_load.py")
ATTACKS, ATTACKS_SCRIPT = "e2e-attacks", Path(__file__).with_name("e2e_attacks.py")


def namespace(name: str) -> dict[str, Any]:
    """A namespace that refuses whatever is not restricted."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def load(image: str, url: str, grpc: str | None, user: str, items: Iterable[str], seconds: float) -> list[Any]:
    """The load generator, told by a file when to stop."""
    arguments = ["--url", url, "--user", user, "--items", ",".join(items)]
    arguments += ["--seconds", f"{seconds:g}", "--stop-file", STOP_FILE]
    if grpc is not None:
        arguments += ["--grpc", grpc]
    return program(LOAD, SCRIPT, image, arguments, int(seconds) + 300)


def attacks(image: str, addresses: Mapping[str, Iterable[str]], user: str, item: str) -> list[Any]:
    """A neighbour that has none of the release's Secrets; `addresses` are those of each role's pods."""
    arguments = ["--user", user, "--item", item]
    arguments += [word for role, hosts in addresses.items() for host in hosts for word in (f"--{role}", host)]
    return program(ATTACKS, ATTACKS_SCRIPT, image, arguments, 900)


def program(name: str, script: Path, image: str, arguments: list[str], seconds: int) -> list[Any]:
    """A program in a ConfigMap, and a pod of the transformer's image that runs it once."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": name,
        "image": image,
        "command": ["python", f"/program/{script.name}", *arguments],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": restricted,
        "volumeMounts": [{"name": "program", "mountPath": "/program"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "program", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {script.name: script.read_text()},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec},
    ]


def modest(job: Mapping[str, Any], registry: str) -> dict[str, Any]:
    """The Job with requests that fit a node of 2 CPUs beside a release; its image from `registry` if named."""
    made: dict[str, Any] = json.loads(json.dumps(job))
    for container in made["spec"]["template"]["spec"]["containers"]:
        container["resources"]["requests"] = {"cpu": "100m", "memory": "512Mi"}
        container["image"] = f"{registry.rstrip('/')}/{container['image']}" if registry else container["image"]
    return made


def image_of(workload: Mapping[str, Any]) -> str:
    """The image of a workload's first container."""
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


def last_json(log: str) -> Any:
    """The last line of a log that is a JSON document; raises `AssertionError` when none is."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise AssertionError(f"no report in this log: {log[-2000:]}")


def lost(report: Mapping[str, Any], fewest: int) -> list[str]:
    """What the load did not get; empty when all was answered. Too few requests prove nothing and are a loss."""
    found = []
    for way, told in report["ways"].items():
        if told["failed"]:
            found.append(f"{way}: {told['failed']} of {told['failed'] + told['ranked']} failed: {told['failures']}")
        if told["ranked"] < fewest:
            found.append(f"{way}: only {told['ranked']} requests were made, expected at least {fewest}")
    if not report["stopped"]:
        found.append("the load ended before it was told to: what came later was not under load")
    return found


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod runs, is ready and is not on its way out."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def begun(pods: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every container of one pod at least has started: there is a log to read."""
    statuses = [pod.get("status", {}).get("containerStatuses", []) for pod in pods]
    return any(each and all("waiting" not in one["state"] for one in each) for each in statuses)


def uids(pods: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Component to the uids of its pods that stay; pods of Jobs are left out."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences", [])}
        if "deletionTimestamp" not in pod["metadata"] and owners and "Job" not in owners:
            component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            found.setdefault(component, set()).add(pod["metadata"]["uid"])
    return found


def leftovers(objects: Iterable[Mapping[str, Any]], release: str) -> list[str]:
    """Objects of the release that an uninstall has left and that nothing announces.

    Announced are objects with the annotation `helm.sh/resource-policy: keep`, and the pod of `helm test`, which Helm
    keeps for its log.
    """
    found = []
    for each in objects:
        meta = each["metadata"]
        labels, annotations = meta.get("labels", {}), meta.get("annotations", {})
        ours = labels.get("app.kubernetes.io/instance") == release
        kept = annotations.get("helm.sh/resource-policy") == "keep" or annotations.get("helm.sh/hook") == "test"
        if ours and not kept and each["kind"] != "Event":
            found.append(f"{each['kind']} {meta['name']}")
    return sorted(found)


def finished(job: Mapping[str, Any]) -> str | None:
    """`Complete` or `Failed` when a Job has ended, otherwise None."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return None


def termination_messages(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """What ended containers have left for Kubernetes to show."""
    statuses = (status for pod in pods for status in pod.get("status", {}).get("containerStatuses", []))
    ended = (status.get("state", {}).get("terminated") or {} for status in statuses)
    return [state["message"] for state in ended if state.get("message")]


def experiment(name: str, release: str, bundle: str) -> dict[str, Any]:
    """An experiment in deployment mode that gives half of the users the candidate, and needs no Prometheus."""
    spec = {
        "target": {
            "kind": "Deployment",
            "name": f"{release}-ranker",
            "transformer": f"{release}-transformer",
            "model": "ranker",
        },
        "candidate": {"bundle": bundle, "startLimit": "20m"},
        "schedule": {"stages": [{"share": 50}]},
        "primaryMetric": {"name": "clicks", "numerator": {"event": "click"}},
        "analysis": {
            "plannedUsers": 100_000,
            "minimumTime": "1h",
            "maximumTime": "2h",
            "attributionWindow": "10s",
            "lookInterval": "10s",
            "noDataLimit": "20m",
        },
        "evidence": {"collector": f"http://{release}-collector:8090"},
    }
    return {"apiVersion": "sightline.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": name}, "spec": spec}
