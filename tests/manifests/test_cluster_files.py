"""The files around the chart: kind, Argo CD, Flux."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity

from charts.tooling.pods import pods_of
from charts.tooling.render import parse, render
from serving.cli.experiment_file import read
from serving.rollout.experiment.spec import ExperimentSpec

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
SCRIPT = MANIFESTS / "clusters" / "kind-up.sh"
SCRIPTS = [SCRIPT, MANIFESTS / "samples" / "rank.sh", MANIFESTS / "samples" / "caption.sh"]


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def test_kinds_node_image_is_pinned_and_of_the_kind_release_that_the_script_asks_for() -> None:
    (cluster,) = documents(MANIFESTS / "clusters" / "kind.yaml")
    assert cluster["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    assert [
        re.fullmatch(r"docker\.io/kindest/node:v1\.36\.\d+", node["image"]) is None for node in cluster["nodes"]
    ] == [False]
    (version,) = re.findall(r"KIND_VERSION=(v[\d.]+)", SCRIPT.read_text())
    assert version in (MANIFESTS / "clusters" / "kind.yaml").read_text()


def test_the_script_pins_every_operator() -> None:
    text = SCRIPT.read_text()
    pins = dict(re.findall(r"^readonly ([A-Z_]+)=(v?\d[\d.]*)", text, re.MULTILINE))
    assert set(pins) == {"KIND_VERSION", "CERT_MANAGER", "GATEWAY_API", "KSERVE", "KUBERAY"}
    installs = re.findall(r"upgrade --install (\S+) (?:[^\n]|\\\n)*", text)
    assert len(installs) == 5
    assert text.count("--version") == 4
    assert "latest" not in text


def test_the_script_loads_every_image_that_the_chart_runs() -> None:
    roles = set(re.findall(r"for role in ([a-z ]+);", SCRIPT.read_text())[0].split())
    values = yaml.safe_load((ROOT / "charts" / "sightline" / "values.yaml").read_text())
    ours = {i["repository"].removeprefix("sightline/") for i in values["images"].values() if isinstance(i, dict)}
    assert roles == {name for name in ours if "/" not in name}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_are_executable(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck: apt-get install shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    found = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_an_unknown_argument_of_the_script_is_refused_before_anything_happens() -> None:
    answer = subprocess.run([SCRIPT, "--operator"], capture_output=True, text=True, check=False, env={"PATH": "/bin"})
    assert answer.returncode == 1
    assert "unknown argument --operator" in answer.stderr


def test_argo_cd_leaves_what_controllers_write_and_generates_no_secret(tmp_path: Path) -> None:
    (application,) = documents(MANIFESTS / "gitops" / "argocd.yaml")
    spec = application["spec"]
    chart = ROOT / spec["source"]["path"]
    helm = spec["source"]["helm"]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(helm["valuesObject"]))
    rendered = parse(render([*(chart / name for name in helm["valueFiles"]), tmp_path / "values.yaml"]))
    assert [each for each in rendered if each["kind"] == "Secret"] == []
    assert any(each["kind"] == "CustomResourceDefinition" for each in rendered)
    ignored = {entry["kind"]: entry for entry in spec["ignoreDifferences"]}
    assert ignored["Deployment"]["jsonPointers"] == ["/spec/replicas"]
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]


def test_flux_runs_helm_test_and_rolls_back() -> None:
    namespace, source, release = documents(MANIFESTS / "gitops" / "flux.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = release["spec"]
    assert spec["chart"]["spec"]["sourceRef"] == {"kind": source["kind"], "name": source["metadata"]["name"]}
    assert (ROOT / spec["chart"]["spec"]["chart"]).is_dir()
    assert spec["test"] == {"enable": True}
    assert spec["upgrade"]["remediation"]["strategy"] == "rollback"


@pytest.mark.parametrize("name", ["argocd.yaml", "flux.yaml"])
def test_examples_track_a_version_and_the_values_files_that_exist(name: str) -> None:
    text = (MANIFESTS / "gitops" / name).read_text()
    (version,) = set(re.findall(r"(?:tag|targetRevision): v([\d.]+)", text))
    chart = yaml.safe_load((ROOT / "charts" / "sightline" / "Chart.yaml").read_text())
    assert version == chart["version"]
    assert re.findall(r"values-\w+\.yaml", text)


def test_the_sample_experiment_is_one_and_names_what_the_manifests_make() -> None:
    (experiment,) = documents(MANIFESTS / "samples" / "experiment.yaml")
    spec = ExperimentSpec.model_validate(experiment["spec"])
    made = {
        (each["kind"], each["metadata"]["name"])
        for folder in ("kind", "experiments")
        for path in (MANIFESTS / folder).glob("*.yaml")
        for each in documents(path)
        if "name" in each.get("metadata", {})
    }
    assert ("CustomResourceDefinition", "experiments.sightline.dev") in made
    assert {("Deployment", spec.target.name), ("Deployment", spec.target.transformer)} <= made
    assert spec.evidence.collector is not None
    host = spec.evidence.collector.removeprefix("http://").removesuffix(":8090")
    assert ("Service", host) in made
    assert spec.candidate.bundle.startswith("/opt/sightline/demo/bundles/")
    assert read(MANIFESTS / "samples" / "experiment.yaml").spec == spec, "as `sightline experiment start` reads it"


SYSTEM = (0.95, 290 * 2**20)
"""What kind's own pods ask for: etcd, apiserver, controller manager, scheduler, two of CoreDNS, the network."""


def test_the_kind_profile_fits_its_node_also_while_an_upgrade_starts_second_pods() -> None:
    """2 CPUs and 6 GB. Otherwise the new pods stay Pending and `helm upgrade --wait` never ends."""
    rendered = parse(render([ROOT / "charts" / "sightline" / "values-kind.yaml"]))
    cpus, memory = SYSTEM
    surging = 0
    for pod in pods_of(rendered):
        twice = pod.owner.startswith("Deployment/")
        surging += twice
        for container in pod.containers:
            asked = container["resources"]["requests"]
            cpus += quantity(asked["cpu"]) * (1 + twice)
            memory += quantity(asked["memory"]) * (1 + twice)
    assert surging == 3
    assert cpus <= 2
    assert memory <= 6e9 * 0.98, "the kubelet keeps some for itself"


def quantity(text: str) -> float:
    """A quantity of CPU or memory as a number."""
    return float(parse_quantity(text))
