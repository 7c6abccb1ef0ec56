"""Runs `sightline` as it would run in an image: with the packages of one extra, and no others.

python only_extra.py <extra> <words of sightline …>
"""

import importlib.metadata
import re
import runpy
import sys
import tomllib
from importlib.machinery import PathFinder
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


class Present:
    """Finds the modules of the allowed packages only, as if no other were installed."""

    find_distributions = staticmethod(PathFinder.find_distributions)

    def __init__(self, allowed):
        self._allowed = allowed | {"sightline"}
        self._owners = importlib.metadata.packages_distributions()

    def find_spec(self, name, path=None, target=None):
        owners = {normal(each) for each in self._owners.get(name.partition(".")[0], ())}
        return PathFinder.find_spec(name, path, target) if not owners or owners & self._allowed else None


if __name__ == "__main__":
    extra = sys.argv[1]
    present = Present(needed([*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]], set()))
    sys.meta_path = [present if each is PathFinder else each for each in sys.meta_path]
    sys.argv = ["sightline", *sys.argv[2:]]
    runpy.run_module("serving.cli.main", run_name="__main__")
