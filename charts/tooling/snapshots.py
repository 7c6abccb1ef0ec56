"""tests/charts/snapshots/: what `helm template` makes of the defaults and of production's profile, whole.

A change of a template is seen in full there by whoever reads it. (kind and gpu are seen in manifests/.)
"""

import hashlib
from pathlib import Path

from charts.tooling.manifests import GENERATED, PSEUDONYMS, SECRET, dump
from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART

SNAPSHOTS = CHART.parents[1] / "tests" / "charts" / "snapshots"
VALUES = {"defaults": (), "production": (CHART / "values-production.yaml",)}
# What is generated would be another one in every rendering; the definition of Experiments is a file of the chart.
SETTINGS = (
    f"items.redis.bundled.existingSecret={SECRET}",
    f"experiments.pseudonyms.existingSecret={PSEUDONYMS}",
    "experiments.crd.create=false",
)


def snapshot_files() -> dict[Path, str]:
    """Text of every snapshot. Raises RenderError with Helm's message."""
    return {
        SNAPSHOTS / f"{name}.yaml": GENERATED + dump(*map(_short, parse(render(files, SETTINGS))))
        for name, files in VALUES.items()
    }


def _short(each: Object) -> Object:
    """Dashboards are files of the chart, copied as they are: their digest will do."""
    if each["kind"] != "ConfigMap" or "data" not in each:
        return each
    digests = {name: text if len(text) < 4096 else _digest(text) for name, text in each["data"].items()}
    return {**each, "data": digests}


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
