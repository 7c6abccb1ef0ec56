"""One small but whole stack for the tests of this folder: everything real, little training."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.stack import control
from serving.stack.foreground import foreground
from serving.stack.layout import Layout
from serving.stack.ports import Ports, free_ports
from serving.stack.prepared import Prepared, prepare
from training.recipe import parse_recipe

RECIPE = """
name: movielens
training: {batch_size: 8192, epochs: 1, threads: 2}
seeds: [1]
bootstrap: {resamples: 100}
"""


@dataclass(frozen=True)
class Small:
    """A prepared state folder."""

    layout: Layout
    made: Prepared


@dataclass(frozen=True)
class Running:
    """The same with its servers up."""

    layout: Layout
    ports: Ports
    made: Prepared


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The offline path, run once; posters and interactions are shared with the project's own state folder."""
    layout = Layout(tmp_path_factory.mktemp("stack"))
    shared = Layout(Path(__file__).parents[2] / ".sightline")
    for own, common in ((layout.data, shared.data), (layout.posters, shared.posters)):
        common.mkdir(parents=True, exist_ok=True)
        own.symlink_to(common)
    ports = free_ports()
    with foreground(layout, ports, "demo") as held:
        recipe = parse_recipe(RECIPE)
        made = prepare(layout, ports, held, recipe, lambda text: None, lambda step, done, of: None)
    return Small(layout, made)


@pytest.fixture(scope="session")
def running(small: Small) -> Iterator[Running]:
    """The stack started as `sightline up` starts it."""
    ports = free_ports()
    control.up(small.layout, ports, lambda state: None)
    yield Running(small.layout, ports, small.made)
    control.down(small.layout)


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
