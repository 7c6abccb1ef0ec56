"""The values of the chart's README for data of one's own: nothing of the demo is written or asked for."""

import re
from pathlib import Path

import yaml

from charts.tooling.pods import pods_of
from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART

README = (CHART / "README.md").read_text("utf-8")
TRAIN = "jobs.train.enabled=true"


def mine(folder: Path) -> Path:
    """The file that the README's section writes."""
    section = README.partition("## Your own data")[2].partition("\n### ")[0]
    (text,) = re.findall(r"cat > mine.yaml <<'END'\n(.*?)END\n", section, re.DOTALL)
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def arguments(objects: list[Object]) -> dict[str, list[str]]:
    return {pod.component: list(pod.containers[0].get("args", ())) for pod in pods_of(objects) if not pod.long}


def test_no_bootstrap_writes_the_demos_items(tmp_path: Path) -> None:
    assert "bootstrap" in arguments(parse(render()))
    assert "bootstrap" not in arguments(parse(render((mine(tmp_path),))))
    assert "bootstrap" not in arguments(parse(render(settings=("bootstrap.enabled=false",))))
    assert "`bootstrap.enabled=false`" in README.partition("## Your own data")[2].partition("\n### ")[0]


def test_the_jobs_and_the_test_name_what_is_ours(tmp_path: Path) -> None:
    file = mine(tmp_path)
    found = arguments(parse(render((file,), (TRAIN,))))
    assert "--recipe=default" in found["train"]
    assert "--data=s3://bucket/catalogue" in found["train"]
    assert "--data=s3://bucket/catalogue" in found["backfill"]
    again = arguments(parse(render((file,), ("jobs.backfill.args={--replace-data}",))))
    assert "--replace-data" in again["backfill"]
    tests = yaml.safe_load(file.read_text())["tests"]
    asked = found["test"]
    assert f"--user={tests['user']}" in asked
    assert [arg for arg in asked if arg.startswith("--item")] == [f"--item={item}" for item in tests["items"]]


def test_an_id_with_a_comma_or_a_colon_reaches_the_test_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    odd = ["a,b", "c: d", "# e", " f "]
    file.write_text(yaml.safe_dump({"tests": {"user": "u: 1", "items": odd}}))
    asked = arguments(parse(render((file,))))["test"]
    assert [arg.removeprefix("--item=") for arg in asked if arg.startswith("--item=")] == odd
    assert "--user=u: 1" in asked
