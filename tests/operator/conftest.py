"""A namespace with a release, its API server, and operators: real processes, or turns on a clock of the test."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import onnx
import pytest
import yaml
from kubernetes import client, config

sys.path.insert(0, str(Path(__file__).parent))

import kube_api
import kube_schema
import outside_world
import shop
from kube_controllers import Controllers
from kube_store import ApiError, Object, Store
from operator_driver import Driver, ManualClock
from operator_readme import ROOT, rules

from models.bundle import Provenance, write_bundle
from models.contract import CaptionFeature, CategoricalFeature, Contract, HashBuckets, HashEncoder
from models.export.metadata import CONTRACT_DIGEST
from serving.rollout.operator.crd import definition

_BUILT_IN = {"deployments": ("apps/v1", "Deployment"), "services": ("v1", "Service"), "events": ("v1", "Event")}


def checked_store() -> Store:
    """A store that takes of experiments only what the CustomResourceDefinition allows, of ours only what is valid."""
    crd = definition()
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    validator = kube_schema.validator(crd)

    def fill(plural: str, body: Object) -> Object:
        if plural != "experiments":
            return body
        return {**kube_schema.defaulted(schema, body), "metadata": body["metadata"]}

    def check(plural: str, body: Object) -> None:
        if plural == "experiments":
            faults = [f"{'.'.join(map(str, e.instance_path))}: {e.message}" for e in validator.iter_errors(body)]
            if faults:
                raise ApiError(422, "; ".join(faults)[:1000])
        elif plural in _BUILT_IN and "apiVersion" in body:  # what the operator made; the shop's own have none
            kubernetes_validate.validate(body, "1.36", strict=True)

    return Store(check=check, fill=fill)


def make_bundle(folder: Path) -> Any:
    """A real bundle with a contract."""
    tokenizer = b'{"version": "1.0"}'
    digest = hashlib.sha256(tokenizer).hexdigest()
    encoder = HashEncoder(buckets=20, seed=0, max_ngram=1)
    caption = CaptionFeature(tokenizer_sha256=digest, max_tokens=4, encoder=encoder)
    field = CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=30))
    contract = Contract(name="t", version=1, categorical=(field,), caption=caption)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    onnx.helper.set_model_props(model, {CONTRACT_DIGEST: contract.digest})
    exported = folder.with_suffix(".onnx")
    exported.write_bytes(model.SerializeToString())
    made = Provenance(
        name="ranker", created="2026-11-22T20:00:00+00:00", git_revision="0123abc", data_digest="sha256:1"
    )
    return write_bundle(
        folder, onnx_path=exported, contract=contract, tokenizer=tokenizer, metrics={"auc": 0.75}, provenance=made
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Any:
    return make_bundle(tmp_path / "candidate")


@pytest.fixture
def outside(bundle: Any) -> Iterator[outside_world.Outside]:
    with outside_world.served(outside_world.Outside(bundle_id=bundle.id)) as made:
        yield made


@pytest.fixture
def api() -> Iterator[kube_api.KubeApi]:
    """The API server with the release of kind Deployment in it."""
    made = kube_api.KubeApi(checked_store(), rules())
    for component in ("ranker", "transformer"):
        made.store.create("deployments", shop.NAMESPACE, shop.deployment(component))
    for service in shop.services():
        made.store.create("services", shop.NAMESPACE, service)
    with kube_api.served(made):
        yield made


@pytest.fixture
def controllers(api: kube_api.KubeApi, outside: outside_world.Outside) -> Controllers:
    return Controllers(api.store, http_port=outside.port)


@pytest.fixture
def running_controllers(controllers: Controllers) -> Iterator[Controllers]:
    thread = controllers.run(every=0.05)
    yield controllers
    controllers.stop()
    thread.join()


@pytest.fixture
def kubeconfig(api: kube_api.KubeApi, tmp_path: Path) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "operator", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "operator", "namespace": shop.NAMESPACE}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


@dataclass
class OperatorProcess:
    """An operator that runs; `log` is what it has said."""

    process: "subprocess.Popen[str]"
    health: str
    metrics: str
    log: list[str]
    reader: threading.Thread

    def kill(self) -> None:
        """Without warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.reader.join(10)

    def end(self) -> int:
        """As Kubernetes does."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.reader.join(10)
        return code

    def ready(self) -> bool:
        return httpx.get(f"{self.health}/health/ready").status_code == 200

    def metric(self, line: str) -> float | None:
        """The value of a metric with its labels, as the page has it."""
        for each in httpx.get(f"{self.metrics}/metrics").text.splitlines():
            if each.startswith(f"{line} "):
                return float(each.rsplit(" ", 1)[1])
        return None


@pytest.fixture
def operator(kubeconfig: Path, outside: outside_world.Outside) -> Iterator[Callable[..., OperatorProcess]]:
    """Starts operators, and ends those that still run."""
    started: list[OperatorProcess] = []

    def start(identity: str = "first", **settings: Any) -> OperatorProcess:
        given = {"lease-seconds": 1.5, "step-seconds": 0.15, "resync-seconds": 1, **settings}
        command = [sys.executable, "-m", "serving.rollout.operator.run", "--host=127.0.0.1", f"--identity={identity}"]
        command += ["--assignments=configmap://shop/sightline-assignments", "--metrics-port=0", "--health-port=0"]
        command += [f"--collectors={outside.url}", f"--prometheus={outside.url}", "--bundles=/"]
        command += [f"--{name}={value}" for name, value in given.items()]
        env = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT)
        assert process.stderr is not None
        log: list[str] = []
        for line in process.stderr:
            log.append(line)
            if found := re.search(r"probes on :(\d+), metrics on :(\d+)", line):
                break
        else:
            pytest.fail("the operator did not start:\n" + "".join(log))
        reader = threading.Thread(target=lambda: log.extend(process.stderr or ()))
        reader.start()
        health, metrics = (f"http://127.0.0.1:{port}" for port in found.groups())
        started.append(OperatorProcess(process, health, metrics, log, reader))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
        if each.process.stderr:
            each.process.stderr.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def driver(api: kube_api.KubeApi, controllers: Controllers, clock: ManualClock, kubeconfig: Path) -> Iterator[Driver]:
    settings = client.Configuration()
    settings.retries = False
    config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
    with httpx.Client(trust_env=False) as http, client.ApiClient(settings) as connected:
        made = Driver(api, controllers, clock, connected, http)
        yield made
        made.close()
