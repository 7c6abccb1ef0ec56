"""Scenarios: a few lines of values each, rendered once by the real helm and parsed once.

A scenario is a file of scenarios/, or a profile of the chart (values-<name>.yaml), which is called profile-<name>.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from charts.tooling.pods import Pod, pods_of
from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART

ROOT = CHART.parents[1]
FOLDER = Path(__file__).parent / "scenarios"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))} | {
    path.stem.replace("values-", "profile-"): path for path in sorted(CHART.glob("values-*.yaml"))
}


@dataclass(frozen=True)
class Scenario:
    """What one values file renders to. Nothing may change the objects: they are shared by all tests."""

    name: str

    @cached_property
    def text(self) -> str:
        return render([FILES[self.name]])

    @cached_property
    def objects(self) -> list[Object]:
        return parse(self.text)

    @cached_property
    def pods(self) -> list[Pod]:
        return pods_of(self.objects)

    def kind(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        (found,) = [each for each in self.kind(kind) if each["metadata"]["name"] == name]
        return found

    def pod(self, component: str) -> Pod:
        (found,) = [pod for pod in self.pods if pod.component == component]
        return found


@cache
def load(name: str) -> Scenario:
    return Scenario(name)


def every() -> list[Scenario]:
    return [load(name) for name in FILES]
