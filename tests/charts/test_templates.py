"""Every template is rendered by some scenario; helm itself finds nothing to say about the chart."""

import json
import re
import subprocess

import pytest
from scenario import FILES, every, load

from charts.tooling.programs import helm
from charts.tooling.values import CHART

SOURCE = re.compile(r"^# Source: sightline/(templates/\S+)$", re.MULTILINE)
# Fails or renders nothing; test_wrong_values.py is about it. NOTES.txt is no manifest; see below.
SILENT = {"templates/checks/checks.yaml"}
# Conditions of the environment that wrong-values tests cannot have: names of profiles and scenarios of every mode.
MODES = [
    *("defaults", "captioner-off", "captioner-external", "rayservice", "kserve", "ranker-external", "items-external"),
    *("experiments", "experiments-kserve"),
]


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(helm()), *arguments], capture_output=True, text=True, check=False)


def test_every_template_renders_an_object_in_some_scenario() -> None:
    files = {str(path.relative_to(CHART)) for path in (CHART / "templates").rglob("*.yaml")}
    rendered = {name for scenario in every() for name in SOURCE.findall(scenario.text)}
    assert len(files) >= 35
    assert rendered == files - SILENT


def test_templates_stay_small() -> None:
    files = [path for path in (CHART / "templates").rglob("*") if path.is_file()]
    assert {path.name: count for path in files if (count := len(path.read_text().splitlines())) > 220} == {}


def test_the_sweep_of_scenarios_is_whole() -> None:
    assert len(FILES) >= 44
    assert {"profile-kind", "profile-gpu", "profile-production"} <= FILES.keys()


@pytest.mark.parametrize(
    "name", ["defaults", "profile-kind", "profile-gpu", "profile-production", "jobs", "monitoring"]
)
def test_helm_lint_is_silent(name: str) -> None:
    done = run_helm("lint", "--strict", str(CHART), "--values", str(FILES[name]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"\[(WARNING|ERROR)\]", done.stdout)


@pytest.mark.parametrize("name", MODES)
def test_the_notes_name_commands_for_what_was_installed(name: str) -> None:
    done = run_helm(
        "install", "shop", str(CHART), "--namespace", "ml", "--dry-run=client", "--values", str(FILES[name])
    )
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("\nNOTES:\n")[2]
    commands = [line.strip() for line in notes.splitlines() if line.strip().startswith(("kubectl", "helm", "curl"))]
    assert len(commands) >= 3
    assert all("ml" in line for line in commands if line.startswith(("kubectl", "helm")))
    assert "<no value>" not in notes
    assert "%!" not in notes


def test_names_of_objects_are_unique() -> None:
    for scenario in every():
        names = [(each["kind"], each["metadata"]["name"]) for each in scenario.objects]
        assert len(names) == len(set(names)), scenario.name


def test_every_object_has_the_recommended_labels() -> None:
    wanted = {
        f"app.kubernetes.io/{key}" for key in ("name", "instance", "component", "version", "part-of", "managed-by")
    }
    for scenario in every():
        for each in scenario.objects:
            if scenario.name != "extra-objects" or each["kind"] != "ConfigMap":
                labels = each["metadata"].get("labels", {})
                assert wanted | {"helm.sh/chart"} <= labels.keys(), f"{scenario.name} {each['kind']}"


def test_common_labels_and_annotations_reach_every_object_and_no_selector() -> None:
    scenario = load("pods")
    for each in scenario.objects:
        where = f"{each['kind']}/{each['metadata']['name']}"
        assert each["metadata"]["labels"]["team"] == "ranking", where
        assert each["metadata"]["annotations"]["example.com/owner"] == "ranking", where
        assert "team" not in json.dumps(each["spec"].get("selector", {})) if "spec" in each else True


def test_nothing_grants_rights_with_a_wildcard_or_over_the_cluster() -> None:
    for scenario in every():
        for each in scenario.objects:
            assert each["kind"] not in {"ClusterRole", "ClusterRoleBinding"}
            for rule in each.get("rules", []) if each["kind"] == "Role" else []:
                assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]


def test_an_extra_object_is_rendered_with_the_release() -> None:
    scenario = load("extra-objects")
    assert scenario.one("ConfigMap", "site")["data"] == {"release": "sightline"}
    assert scenario.one("ConfigMap", "sightline-text")
