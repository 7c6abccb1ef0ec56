"""The pods that rendered objects lead to, whoever makes them: Kubernetes, KubeRay or KServe."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from charts.tooling.render import Object


@dataclass(frozen=True)
class Pod:
    """A pod as its controller will make it. `long` is false for Jobs and tests, which end by themselves."""

    owner: str
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: Object
    long: bool = True

    @property
    def containers(self) -> list[Object]:
        return list(self.spec["containers"])

    @property
    def all_containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.containers]

    @property
    def volumes(self) -> dict[str, Object]:
        return {volume["name"]: volume for volume in self.spec.get("volumes", [])}

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    def has(self, selector: dict[str, str]) -> bool:
        return selector.items() <= self.labels.items()


def pods_of(objects: Iterable[Object]) -> list[Pod]:
    """All pods of a release. Raises KeyError for an InferenceService whose ServingRuntime is not among the objects."""
    known = list(objects)
    runtimes = {each["metadata"]["name"]: each["spec"] for each in known if each["kind"] == "ServingRuntime"}
    return [pod for each in known for pod in _pods(each, runtimes)]


def _pods(each: Object, runtimes: dict[str, Object]) -> Iterator[Pod]:
    kind, spec = each["kind"], each.get("spec", {})
    owner = f"{kind}/{each['metadata']['name']}"
    if kind in {"Deployment", "StatefulSet"}:
        yield _templated(owner, spec["template"])
    elif kind == "Job":
        yield _templated(owner, spec["template"], long=False)
    elif kind == "CronJob":
        yield _templated(owner, spec["jobTemplate"]["spec"]["template"], long=False)
    elif kind == "Pod":
        yield _templated(owner, each, long=False)
    elif kind == "RayService":
        cluster = spec["rayClusterConfig"]
        yield _by_kuberay(f"{owner} head", "head", cluster["headGroupSpec"]["template"])
        for group in cluster["workerGroupSpecs"]:
            yield _by_kuberay(f"{owner} {group['groupName']}", "worker", group["template"])
    elif kind == "InferenceService":
        for part in ("predictor", "transformer"):
            if part in spec:
                yield _by_kserve(each["metadata"]["name"], part, spec[part], runtimes)


def _templated(owner: str, template: Object, long: bool = True) -> Pod:
    metadata: Any = template.get("metadata", {})
    return Pod(owner, metadata.get("labels", {}), metadata.get("annotations", {}), template["spec"], long)


def _by_kuberay(owner: str, node: str, template: Object) -> Pod:
    """KubeRay adds labels that Services and monitors select by."""
    pod = _templated(owner, template)
    return replace(pod, labels=pod.labels | {"ray.io/node-type": node})


def _by_kserve(service: str, name: str, part: Object, runtimes: dict[str, Object]) -> Pod:
    """KServe lays the component's fields over the runtime's, joins lists, and adds labels that Services select by."""
    runtime = runtimes[part["model"]["runtime"]] if "model" in part else {}
    joined = {key: [*runtime.get(key, []), *part.get(key, [])] for key in ("containers", "initContainers", "volumes")}
    labels = {
        "app": f"isvc.{by_kserve(service, name, part)}",
        "component": name,
        "serving.kserve.io/inferenceservice": service,
    }
    owner = f"InferenceService/{service} {name}"
    return Pod(owner, part.get("labels", {}) | labels, part.get("annotations", {}), {**runtime, **part, **joined})


def by_kserve(service: str, name: str, part: Object) -> str:
    """Name of the Deployment and Service that KServe makes for a part; a predictor may have a name of its own."""
    return f"{service}-{part['name']}-{name}" if "name" in part else f"{service}-{name}"
