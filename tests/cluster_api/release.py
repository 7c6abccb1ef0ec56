"""A release of the chart in a namespace of a real API server, the controller's way into it, and its pods' kubelet."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from kubernetes import client, config

from charts.tooling.programs import helm
from charts.tooling.values import CHART
from serving.rollout.experiment.ports import RetryError, VerifiedBundle
from serving.rollout.kubernetes.api import DEPLOYMENT, EXPERIMENT, LEASE, POD, SERVICE, Api, Kind
from serving.rollout.kubernetes.deployment import DeploymentTarget
from serving.rollout.kubernetes.inference_service import InferenceServiceTarget
from serving.rollout.kubernetes.objects import Owner
from serving.rollout.operator.crd import text
from tests.cluster_api.conftest import ApiServer
from tests.operator.wrong_specs import example

Object = dict[str, Any]
HPA = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
BUNDLE = VerifiedBundle("sha256:" + "a" * 64, "sha256:" + "c" * 64)
SMALL = ("captioner.mode=off", "bootstrap.enabled=false", "experiments.enabled=true", "experiments.crd.create=false")
"""Parts that no experiment needs are left out; the definition is the server's, not a release's."""
_READY = ("Initialized", "PodScheduled", "ContainersReady", "Ready")


@dataclass
class Release:
    """`api` may do what the controller's account may; `all` is the administrator's."""

    namespace: str
    kubeconfig: str
    api: Api
    all: Api
    connected: Any

    def install(self, *settings: str) -> None:
        given = [f"--set={each}" for each in (*SMALL, *settings)]
        self._done(["helm", "install", "sightline", str(CHART), "--namespace", self.namespace, *given])

    def upgrade(self, *settings: str, times: int = 2) -> None:
        """Twice: what the first one writes must not make the second one fail."""
        for _ in range(times):
            self._done(self._upgrade(settings))

    def refused(self, *settings: str) -> str:
        """What an upgrade says that fails."""
        done = self._run(self._upgrade(settings))
        assert done.returncode != 0
        return done.stderr

    def run(self, command: str) -> None:
        """A command as it is printed."""
        self._done(shlex.split(command))

    def uninstall(self) -> None:
        self._done(["helm", "uninstall", "sightline", "--namespace", self.namespace])

    def get(self, kind: Kind, name: str) -> Object:
        found = self.all.get(kind, self.namespace, name)
        assert found is not None, f"{kind.name} {name}"
        return found

    def names(self, kind: Kind) -> set[str]:
        return {each["metadata"]["name"] for each in self.all.list(kind, self.namespace)}

    def owner(self, name: str) -> Owner:
        """Of an Experiment that is made for it: what has no owner is deleted."""
        document = example()
        body = {"metadata": {"name": name}, "spec": document["spec"]}
        made = self.all.create(EXPERIMENT, self.namespace, body)
        return Owner(name, self.namespace, made["metadata"]["uid"])

    def deployment_target(self, bundle: str, owner: Owner) -> DeploymentTarget:
        return DeploymentTarget(
            self.api,
            httpx.Client(),
            owner=owner,
            ranker="sightline-ranker",
            transformer="sightline-transformer",
            model="ranker",
            bundle=bundle,
            replicas=1,
            store_secret="keys",
        )

    def kserve_target(self, bundle: str, owner: Owner, replicas: int = 2) -> InferenceServiceTarget:
        return InferenceServiceTarget(
            self.api,
            httpx.Client(),
            owner=owner,
            service="sightline-ranker",
            model="ranker",
            bundle=bundle,
            replicas=replicas,
            store_secret="keys",
        )

    def until(self, what: str, truth: Callable[[], Any], seconds: float = 180.0) -> None:
        """As a controller: what does not answer now is asked again. Pods become ready meanwhile."""
        end, trouble = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            self._be_kubelet()
            try:
                if truth():
                    return
            except RetryError as error:
                trouble = str(error)
            time.sleep(0.2)
        raise AssertionError(f"{what}: not so after {seconds:g} s; {trouble}")

    def _be_kubelet(self) -> None:
        """Every pod runs and is ready: there is no node here."""
        core = client.CoreV1Api(self.connected)
        for pod in self.all.list(POD, self.namespace):
            conditions = pod.get("status", {}).get("conditions") or ()
            if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                continue
            ready = [{"type": each, "status": "True", "lastTransitionTime": "2026-12-01T00:00:00Z"} for each in _READY]
            status = {"phase": "Running", "podIP": "10.9.9.9", "conditions": ready}
            try:
                core.patch_namespaced_pod_status(pod["metadata"]["name"], self.namespace, {"status": status})
            except client.ApiException as error:
                if error.status not in (404, 409):  # it went meanwhile
                    raise

    def _upgrade(self, settings: Iterable[str]) -> list[str]:
        given = ["--reset-then-reuse-values", *(f"--set={each}" for each in settings)]
        return ["helm", "upgrade", "sightline", str(CHART), "--namespace", self.namespace, *given]

    def _done(self, command: list[str]) -> None:
        done = self._run(command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        words = [str(helm()) if each == "helm" else each for each in command]
        env = {**os.environ, "KUBECONFIG": self.kubeconfig}
        return subprocess.run(
            words, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=CHART.parents[1]
        )


@contextmanager
def released(server: ApiServer, namespace: str) -> Iterator[Release]:
    """A namespace for a release, with the definition of Experiments; deleted in the end."""
    assert server.kubectl("apply", "--filename", "-", given=text()).returncode == 0
    assert server.kubectl("create", "namespace", namespace).returncode == 0
    settings = client.Configuration()
    config.load_kube_config(config_file=server.kubeconfig, client_configuration=settings)
    with client.ApiClient(settings) as admin, client.ApiClient(settings) as account:
        account.set_default_header("Impersonate-User", f"system:serviceaccount:{namespace}:sightline-controller")
        made = Release(namespace, server.kubeconfig, Api(account), Api(admin), admin)
        made.until("experiments are known", lambda: made.names(EXPERIMENT) == set())
        yield made
        server.kubectl("delete", "namespace", namespace, "--wait=false")


__all__ = ["BUNDLE", "DEPLOYMENT", "HPA", "LEASE", "SERVICE", "Release", "released"]
