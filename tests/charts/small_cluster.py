"""A rendered release in an imitated API server, whose pods are started here: what a kubelet does for an experiment."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rendered_pods import DEMO, Container, Machine, Started, container, run, started

from charts.tooling.pods import pods_of
from charts.tooling.render import Object
from charts.tooling.values import CHART

sys.path.insert(0, str(CHART.parents[1] / "tests" / "operator"))

import kube_api
from kube_store import Store

NAMESPACE = "sightline"
PLURALS = {"Deployment": "deployments", "Service": "services", "ConfigMap": "configmaps"}


def allowed(role: Object) -> set[tuple[str, str, str]]:
    """Group, resource and verb of a Role's rules. Names are not looked at here: test_experiments.py reads them."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@dataclass
class Cluster:
    """`machine` has the rendering; the objects that its controller asks for are in `api`."""

    machine: Machine
    api: kube_api.KubeApi
    kubeconfig: Path
    opened: ExitStack
    candidate: str = ""
    """Where the candidate's Triton listens, once it runs."""
    book: Path | None = None
    running: dict[str, Started] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.api.store

    def start(self, component: str, **more: str) -> Started:
        """The component's pod as it is rendered, ready."""
        given = container(self.machine, self.machine.pod(component), **more)
        running = self.running[component] = self.opened.enter_context(started(given))
        if component == "transformer":
            self.book = given.mounted("/etc/sightline/assignments") / "book.json"
        return running

    def place_candidate(self, name: str) -> None:
        """Start the pods of the Deployment that the controller has made, and say so as its controllers would."""
        deployment = self.store.get("deployments", NAMESPACE, name)
        rendered = json.loads(json.dumps(deployment).replace(str(self.machine.demo), DEMO))
        (pod,) = pods_of([{"kind": "Deployment", **rendered}])
        fetch, main = container(self.machine, pod, "fetch-bundle"), container(self.machine, pod)
        done = run(fetch)
        assert done.returncode == 0, done.stderr
        shutil.copytree(fetch.mounted("/mnt/bundle"), main.mounted("/mnt/bundle"), dirs_exist_ok=True)
        self.opened.enter_context(started(main))
        self.candidate = f"127.0.0.1:{self.machine.port('candidate', 9000)}"
        self._say_ready(deployment, main)

    def _say_ready(self, deployment: Object, main: Container) -> None:
        spec = json.loads(json.dumps(deployment["spec"]["template"]["spec"]))
        for port in spec["containers"][0]["ports"]:
            port["containerPort"] = self.machine.port("candidate", port["containerPort"])
        metadata = {"name": "candidate-0", "labels": main.pod.labels}
        status: dict[str, Any] = {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        self.store.create("pods", NAMESPACE, {"metadata": metadata, "spec": spec, "status": status})
        generation = deployment["metadata"]["generation"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        found = self.store.get("deployments", NAMESPACE, deployment["metadata"]["name"])
        self.store.update(
            "deployments", NAMESPACE, {**found, "status": {"observedGeneration": generation, **counts}}, "status"
        )

    def sync_book(self, host: str) -> bool:
        """Hand the assignment's ConfigMap on to the transformer's volume; whether it has an experiment."""
        assert self.book is not None
        text = self.store.get("configmaps", NAMESPACE, "sightline-assignments").get("data", {}).get("book.json", "")
        part = self.book.with_suffix(".part")
        part.write_text(text.replace(f"{host}:9000", self.candidate))
        part.rename(self.book)
        return bool(text and json.loads(text)["assignments"])

    def status(self, name: str) -> Any:
        return self.store.get("experiments", NAMESPACE, name).get("status", {})


@contextmanager
def cluster(machine: Machine) -> Iterator[Cluster]:
    """The release's Deployments, Services and ConfigMaps, with what the controller's Role allows."""
    store = Store()
    for each in machine.objects:
        if each["kind"] in PLURALS:
            store.create(PLURALS[each["kind"]], NAMESPACE, each)
    api = kube_api.KubeApi(store, allowed(machine.object("Role", "sightline-controller")))
    kubeconfig = machine.folder / "kubeconfig"
    with kube_api.served(api), ExitStack() as opened:
        user = {"cluster": "c", "user": "controller", "namespace": NAMESPACE}
        document = {
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "users": [{"name": "controller", "user": {}}],
            "contexts": [{"name": "here", "context": user}],
        }
        kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **document}))
        yield Cluster(machine, api, kubeconfig, opened)
