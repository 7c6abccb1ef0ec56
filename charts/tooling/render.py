"""The chart's objects as `helm template` makes them."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from charts.tooling.programs import helm
from charts.tooling.values import CHART

Object = dict[str, Any]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(ValueError):
    """Helm refused the values; the message is Helm's."""


def render(
    files: Iterable[Path] = (), settings: Sequence[str] = (), release: str = "sightline", chart: Path = CHART
) -> str:
    """Text of all objects, tests included. `settings` are as after `--set`. Raises RenderError."""
    command = [str(helm()), "template", release, str(chart), "--namespace", "sightline"]
    command += [f"--values={file}" for file in files]
    command += [f"--set={setting}" for setting in settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(done.stderr.strip())
    return done.stdout


def parse(text: str) -> list[Object]:
    """The objects in a rendered text, in its order."""
    return [found for found in yaml.load_all(text, Loader=LOADER) if found]
