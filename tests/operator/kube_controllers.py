"""The controllers of a cluster, in small: Deployments get pods, InferenceServices get Deployments."""

import copy
import threading
from dataclasses import dataclass, field
from typing import Any

from kube_store import ApiError, Object, Store

AUTOSCALER = "serving.kserve.io/autoscalerClass"
_FETCH = ["sightline", "models", "fetch"]


@dataclass
class Controllers:
    """`step` brings everything one step further: a rollout takes several. `broken` are bundles that never run."""

    store: Store
    http_port: int = 8080
    broken: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def step(self) -> None:
        for work in (self._serve_kserve, self._roll):
            try:
                work()
            except ApiError as error:
                if error.code not in (404, 409):  # somebody changed or deleted it meanwhile
                    raise

    def run(self, every: float) -> threading.Thread:
        def loop() -> None:
            while not self._stop.wait(every):
                self.step()

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def stop(self) -> None:
        self._stop.set()

    def _roll(self) -> None:
        for deployment in self.store.list("deployments"):
            self._roll_one(deployment)
        for pod in self.store.list("pods"):
            owner = (pod["metadata"]["namespace"], pod["metadata"]["labels"]["test/deployment"])
            if self.store.find("deployments", *owner) is None:
                self.store.delete("pods", owner[0], pod["metadata"]["name"])

    def _roll_one(self, deployment: Object) -> None:
        metadata, spec = deployment["metadata"], deployment["spec"]
        wanted, generation = spec.get("replicas", 1), metadata["generation"]
        status = deployment.get("status", {})
        if status.get("observedGeneration") == generation and status.get("availableReplicas") == wanted:
            return
        available = 0
        if status.get("observedGeneration") == generation and fetched(spec["template"]["spec"]) not in self.broken:
            available = wanted
        pods = {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": available}
        deployment["status"] = {"observedGeneration": generation, "readyReplicas": available, **pods}
        self.store.update("deployments", metadata["namespace"], deployment, "status")
        self._place_pod(deployment, ready=available > 0)

    def _place_pod(self, deployment: Object, ready: bool) -> None:
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        template = deployment["spec"]["template"]
        labels = {**template["metadata"]["labels"], "test/deployment": name}
        old = self.store.find("pods", namespace, f"{name}-0")
        if old is not None:
            self.store.delete("pods", namespace, f"{name}-0")
        spec = copy.deepcopy(template["spec"])
        for container in spec["containers"]:
            for port in container.get("ports") or ():
                port["containerPort"] = self.http_port if port["name"] == "http" else port["containerPort"]
        waiting = {"name": "fetch", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}
        status: dict[str, Any] = {
            "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "initContainerStatuses": [] if ready else [waiting],
        }
        body = {"metadata": {"name": f"{name}-0", "labels": labels}, "spec": spec, "status": status}
        self.store.create("pods", namespace, body)

    def _serve_kserve(self) -> None:
        """A Deployment per predictor, canary entry and transformer; entries that went take theirs with them."""
        for service in self.store.list("inferenceservices"):
            name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
            spec = service["spec"]
            wanted = {_predictor_name(name, each): each for each in _predictors(spec)}
            if "transformer" in spec:
                wanted[f"{name}-transformer"] = spec["transformer"]
            for deployment, component in wanted.items():
                self._place_deployment(namespace, deployment, component, service)
            for there in self.store.list("deployments", namespace):
                mine = any(owner["name"] == name for owner in there["metadata"].get("ownerReferences") or ())
                if mine and there["metadata"]["name"] not in wanted:
                    self.store.delete("deployments", namespace, there["metadata"]["name"])

    def _place_deployment(self, namespace: str, name: str, component: Object, service: Object) -> None:
        labels = {**component.get("labels", {}), "app": f"isvc.{name}"}
        pod = {key: component[key] for key in ("initContainers", "containers", "volumes") if key in component}
        if "model" in component:
            ports = [{"name": "h2c", "containerPort": 9000}, {"name": "http", "containerPort": 8080}]
            model = copy.deepcopy(component["model"])
            pod["containers"] = [
                {"name": "kserve-container", "ports": ports, "env": [{"name": "MODEL", "value": str(model)}]}
            ]
        template = {"metadata": {"labels": labels, "annotations": component.get("annotations", {})}, "spec": pod}
        old = self.store.find("deployments", namespace, name)
        replicas = component.get("minReplicas", 1)
        if old is None and component.get("annotations", {}).get(AUTOSCALER) == "hpa" and component.get("canary"):
            self.store.create("horizontalpodautoscalers", namespace, {"metadata": {"name": name}})  # nobody's
            replicas = 1
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": f"isvc.{name}"}}, "template": template}
        if old is None:
            owner = {"kind": "InferenceService", "name": service["metadata"]["name"], "uid": service["metadata"]["uid"]}
            metadata = {"name": name, "ownerReferences": [owner]}
            self.store.create("deployments", namespace, {"metadata": metadata, "spec": spec})
        elif old["spec"] != spec:
            self.store.update("deployments", namespace, {**old, "spec": spec})


def _predictors(spec: Object) -> list[Object]:
    """As KServe 0.20 has them: what canaries have is taken from stable, down to one pod."""
    canaries = [{**each["predictor"], "canary": True} for each in spec.get("canary") or ()]
    stable = spec["predictor"]
    left = max(stable.get("minReplicas", 1) - sum(each.get("minReplicas", 1) for each in canaries), 1)
    return [{**stable, "minReplicas": left} if canaries else stable, *canaries]


def _predictor_name(service: str, predictor: Object) -> str:
    return f"{service}-{predictor['name']}-predictor" if predictor.get("name") else f"{service}-predictor"


def fetched(pod: Object) -> str | None:
    for container in pod.get("initContainers") or ():
        if container.get("command") == _FETCH:
            return str(container["args"][0])
    return None
