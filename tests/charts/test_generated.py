"""The schema, the README's table and manifests/ say what the chart says."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from scenario import ROOT

from charts.tooling.generate import main
from charts.tooling.manifests import EXPERIMENTS, JOBS, PROFILES, SETTINGS, WITH_EXPERIMENTS, WRITTEN, served
from charts.tooling.programs import kubectl
from charts.tooling.render import parse, render
from charts.tooling.values import CHART, ValuesError, read_values
from serving.rollout.collector.rights import Right

MANIFESTS = ROOT / "manifests"


def objects_of(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema that describes an object, with where it is."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, part in schema.items():
            yield from objects_of(part, f"{path}/{key}")


def test_what_is_generated_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--check"])
    assert code == 0, capsys.readouterr().err


def test_the_schema_is_closed_at_every_level() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = dict(objects_of(schema))
    open_ones = {path for path, part in found.items() if part.get("additionalProperties") is not False}
    maps = {path for path in open_ones if isinstance(found[path].get("additionalProperties"), dict)}
    assert len(found) > 100
    # Globals of a chart that this one is a part of; manifests of the reader.
    assert open_ones - maps == {"/properties/global", "/definitions/containers/items"}
    names = {path.rpartition("/")[2] for path in maps}
    assert names <= {
        *("commonLabels", "commonAnnotations", "labels", "annotations", "nodeSelector", "matchLabels"),
        *("volumeAttributes", "requests", "limits"),
    }


def test_every_value_is_described_in_the_schema_and_the_readme() -> None:
    readme = (CHART / "README.md").read_text()
    leaves = [leaf for top in read_values() for leaf in top.leaves()]
    assert len(leaves) > 200
    assert [leaf.name for leaf in leaves if f"| `{leaf.name}` | {leaf.description}" not in readme] == []


def test_comments_are_sentences() -> None:
    for top in read_values():
        for leaf in top.leaves():
            assert leaf.description[0].isupper() or leaf.description[0] in "`[", leaf.name
            assert len(leaf.description) < 320, leaf.name


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a:\n  b: 1\n", "a.b: has no comment"),
        ("# What it does.\n# @maximum 3\na: 1\n", "annotation @maximum is unknown"),
        ("# What it does.\na: []\n", "tells no type"),
        ("# What it does.\na:\n", "tells no type"),
    ],
)
def test_a_value_without_comment_or_type_is_refused(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(text)
    with pytest.raises(ValuesError, match=fault):
        read_values(tmp_path / "values.yaml")


def built(name: str) -> list[dict[str, Any]]:
    command = [str(kubectl()), "kustomize", str(MANIFESTS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "helm.sh/" not in done.stdout
    return parse(done.stdout)


@pytest.mark.parametrize("name", [*PROFILES, EXPERIMENTS])
def test_kubectl_builds_the_manifests(name: str) -> None:
    objects = built(name)
    assert len(objects) > 20
    assert {each["kind"] for each in objects} & {"Secret", "Pod"} == set()
    assert {each["metadata"].get("namespace", "sightline") for each in objects} == {"sightline"}


def test_the_manifests_of_experiments_are_what_the_chart_renders_with_them() -> None:
    """Kind's, with the patches: also where a patch is a list that Kubernetes would merge."""
    settings = (*SETTINGS, WRITTEN, *WITH_EXPERIMENTS)
    wanted = served(parse(render([CHART / "values-kind.yaml"], settings)))
    assert as_text(built(EXPERIMENTS)) == as_text(wanted)
    assert len(as_text(wanted)) == len(wanted)


def as_text(objects: list[dict[str, Any]]) -> set[str]:
    """Objects without the namespace that kustomize writes into them."""
    texts = set()
    for each in objects:
        metadata = {key: value for key, value in each["metadata"].items() if key != "namespace"}
        texts.add(json.dumps(each | {"metadata": metadata}, sort_keys=True))
    return texts


@pytest.mark.parametrize("name", [*PROFILES, EXPERIMENTS])
def test_manifests_ask_for_the_secrets_that_their_head_says_how_to_make(name: str) -> None:
    head = (MANIFESTS / name / "kustomization.yaml").read_text()
    needed = name == EXPERIMENTS
    found = [each for one in built(name) for each in references(one) if needed or not each.get("optional")]
    named = {(each["name"], each["key"]) for each in found}
    expected = {("sightline-items", "password"), ("sightline-items", "reader-password")}
    tokens = {("sightline-collector-tokens", right) for right in (*Right, "inference", "arm")}
    if name == EXPERIMENTS:
        expected |= {("sightline-pseudonyms", "key")} | tokens
        rights = " ".join((*Right, "inference", "arm"))
        assert f"create secret generic sightline-collector-tokens \\\n#     $(for k in {rights}; do" in head
    assert named == expected
    commands = head.replace("\\\n#", "").splitlines()
    for secret, key in named - tokens:
        assert any(f"create secret generic {secret} " in line and f"--from-literal={key}=" in line for line in commands)


def references(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "secretKeyRef" in part:
            yield part["secretKeyRef"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_can_be_created_again_and_again_and_shares_one_claim(job: str) -> None:
    claim, each = parse((MANIFESTS / "jobs" / f"{job}.yaml").read_text())
    spec = each["spec"]["template"]["spec"]
    assert each["metadata"]["generateName"] == f"sightline-{job}-"
    assert "name" not in each["metadata"]
    assert spec["serviceAccountName"] == "default"
    claims = [volume["persistentVolumeClaim"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    assert (claim["kind"], claims) == ("PersistentVolumeClaim", [{"claimName": claim["metadata"]["name"]}])
    assert not any(secret["name"] != "sightline-items" for secret in references(each))


def test_the_parent_charts_globals_are_accepted_in_an_umbrella(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "sightline").symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 1.0.0\n")
    (tmp_path / "values.yaml").write_text(yaml.safe_dump({"global": {"storageClass": "fast"}, "sightline": {}}))
    assert "kind: Deployment" in render(chart=tmp_path)
