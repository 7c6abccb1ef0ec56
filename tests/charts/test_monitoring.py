"""Alerts, runbooks and dashboards, held against each other and against what the code and the real Triton export."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerts import UNWELL, promtool_test
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from charts.tooling.render import parse, render
from charts.tooling.values import CHART
from serving.captioner.metrics import Meter
from serving.rollout.collector.metrics import Metrics as CollectorMetrics
from serving.rollout.operator.metrics import OperatorMetrics
from serving.stack.triton_server import running_triton
from serving.transformer.metrics import Metrics

RUNBOOKS = CHART / "docs" / "runbooks.md"
NAME = re.compile(r"\b(?:sightline|nv)_[a-z_]+")
SETTINGS = [
    "experiments.enabled=true",
    "monitoring.rules.enabled=true",
    "monitoring.podMonitors.enabled=true",
    "monitoring.dashboards.enabled=true",
]
CONFIG = 'name: "m" backend: "python" max_batch_size: 8 dynamic_batching {} '
CONFIG += 'input [{name: "x" data_type: TYPE_FP32 dims: [1]}] output [{name: "y" data_type: TYPE_FP32 dims: [1]}]'
MODEL = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here: apt-get install prometheus"
)


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return parse(render(settings=SETTINGS))


@pytest.fixture(scope="module")
def rules(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == "PrometheusRule"]
    spec: dict[str, Any] = found["spec"]
    return spec


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of all series that our processes and the real Triton export."""
    registry, meter = CollectorRegistry(), Meter("a")
    Metrics(registry)
    CollectorMetrics(registry)
    OperatorMetrics(registry)
    meter.request(200, 0.1)
    meter.image("ok")
    meter.decoded(0.1)
    meter.batch(1, 0.1)
    folder = tmp_path_factory.mktemp("triton")
    (folder / "models" / "m" / "1").mkdir(parents=True)
    (folder / "models" / "m" / "config.pbtxt").write_text(CONFIG)
    (folder / "models" / "m" / "1" / "model.py").write_text(MODEL)
    with running_triton(folder / "models", folder / "work") as ports:
        url = f"http://127.0.0.1:{ports.metrics}/metrics"
        triton = urllib.request.urlopen(url, timeout=10).read()
    ours = {name for text in (generate_latest(registry), meter.text()) for name in _names(text)}
    return ours | set(re.findall(r"^(nv_\w+)", triton.decode(), re.MULTILINE))


def _names(text: bytes) -> Iterator[str]:
    for family in text_string_to_metric_families(text.decode()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        yield from (family.name + suffix for suffix in suffixes)


def alerts(rules: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in rules["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((CHART / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield path.stem, panel


def expressions() -> list[str]:
    found = [target["expr"] for _, panel in panels() for target in panel.get("targets", [])]
    assert len(found) >= 80
    return [
        each.replace("$__rate_interval", "5m")
        .replace("$namespace", "sightline")
        .replace("$model", "ranker")
        .replace("$experiment", "captions")
        for each in found
    ]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(rules: dict[str, Any]) -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert [each["alert"] for each in alerts(rules)] == sections
    for each in alerts(rules):
        assert each["annotations"]["runbook_url"] == f"charts/sightline/docs/runbooks.md#{each['alert'].lower()}"
        assert set(each["annotations"]) == {"summary", "description", "runbook_url"}


def test_alerts_and_dashboards_ask_only_for_what_is_exported(rules: dict[str, Any], exported: set[str]) -> None:
    asked = {
        name for text in [*expressions(), *(each["expr"] for each in alerts(rules))] for name in NAME.findall(text)
    }
    assert len(asked) >= 45
    assert asked - exported == set()


def test_every_selector_of_alerts_and_dashboards_names_the_namespace(rules: dict[str, Any]) -> None:
    for text in [*expressions(), *(each["expr"] for each in alerts(rules))]:
        selectors = re.findall(r"(?:sightline|nv)_[a-z_]+(\{[^}]*\}|)", text)
        assert selectors != []
        assert all('namespace="sightline"' in selector for selector in selectors), text


@needs_promtool
def test_exactly_the_named_alert_fires_when_one_thing_is_wrong(rules: dict[str, Any], tmp_path: Path) -> None:
    assert {case.partition(":")[0] for case in UNWELL} == {each["alert"] for each in alerts(rules)}
    tests = [promtool_test("healthy", {}, [])]
    tests += [promtool_test(case, changes, [case.partition(":")[0]]) for case, changes in UNWELL.items()]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "60s", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "tests.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{at}", "expr": each} for at, each in enumerate(expressions())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "panels.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_reach_grafana_as_they_are(objects: list[dict[str, Any]]) -> None:
    maps = [each for each in objects if each["kind"] == "ConfigMap" and "-dashboard-" in each["metadata"]["name"]]
    files = {path.name: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for each in maps for name, text in each["data"].items()} == files
    assert len({board["uid"] for board in files.values()}) == len(files) == 4
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)


def test_panels_say_what_they_show_and_do_not_overlap() -> None:
    taken: set[tuple[str, int, int]] = set()
    for board, panel in panels():
        place = panel["gridPos"]
        assert panel["type"] == "row" or panel["description"], panel["title"]
        cells = {
            (board, x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
