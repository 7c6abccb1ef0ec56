"""What checkov reads: each profile's objects, and a Pod for each pod that KubeRay and KServe will make of them."""

import re
from pathlib import Path
from typing import Any

import yaml

from charts.tooling.pods import pods_of
from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART

NAMESPACE = "sightline"
_OPERATORS = ("RayService", "InferenceService")
# The captioner and ranker of a first look, experiments and jobs: what no profile but production's switches on.
_MORE = {"everything": ((CHART / "values.yaml",), ("experiments.enabled=true", "bootstrap.enabled=true"))}


def write(folder: Path) -> list[str]:
    """Render the profiles into files of a folder; their names."""
    profiles: dict[str, tuple[tuple[Path, ...], tuple[str, ...]]] = {
        path.stem: ((path,), ()) for path in sorted(CHART.glob("values*.yaml"))
    }
    profiles |= _MORE
    for name, (files, settings) in profiles.items():
        objects = parse(render(files, settings))
        text = yaml.safe_dump_all([*map(_placed, objects), *operators_pods(objects)])
        (folder / f"{name}.yaml").write_text(text)
    return list(profiles)


def operators_pods(objects: list[Object]) -> list[Object]:
    """Pods that operators make; checkov knows neither their custom resources nor what becomes of them."""
    made = [pod for pod in pods_of(objects) if pod.owner.split("/")[0] in _OPERATORS]
    return [
        _placed({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _name(pod.owner)}, "spec": pod.spec})
        for pod in made
    ]


def _name(owner: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", owner.lower())


def _placed(each: Object) -> Object:
    """With the namespace that `helm install --namespace` gives it."""
    metadata: dict[str, Any] = {"namespace": NAMESPACE, **each["metadata"]}
    return {**each, "metadata": metadata}
