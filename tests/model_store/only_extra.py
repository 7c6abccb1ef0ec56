"""Runs `sightline` as it would run in an image: with the packages of one extra, and no others.

python only_extra.py <extra> <words of sightline …>
"""

import importlib.metadata
import re
import runpy
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(requirements, seen):
    """The normalized names of every package that the requirements lead to."""
    for requirement in map(Requirement, requirements):
        key = (normal(requirement.name), tuple(sorted(requirement.extras)))
        marker, extras = requirement.marker, requirement.extras or {""}
        if key in seen or (marker and not marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        try:
            lines = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        parsed = [(line, Requirement(line).marker) for line in lines]
        wanted = [line for line, on in parsed if on is None or any(on.evaluate({"extra": extra}) for extra in extras)]
        needed([line.partition(";")[0] for line in wanted], seen)
    return {name for name, _ in seen}


class Absent:
    """Makes every module of another package one that is not installed."""

    def __init__(self, allowed):
        self._allowed = allowed | {"sightline"}
        self._owners = importlib.metadata.packages_distributions()

    def find_spec(self, name, path=None, target=None):
        owners = {normal(each) for each in self._owners.get(name.partition(".")[0], ())}
        if owners and not owners & self._allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    extra = sys.argv[1]
    sys.meta_path.insert(0, Absent(needed([*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]], set())))
    sys.argv = ["sightline", *sys.argv[2:]]
    runpy.run_module("serving.cli.main", run_name="__main__")
