"""A fresh interpreter shows what an import really loads; the import rules alone see only the project's own lines."""

import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "ray", "onnx", "onnxscript", "sklearn"}
# Runs inside Triton's Python stub only, which gives it a module that exists nowhere else.
STUB_ONLY = "models.triton.python_model"
LIGHT = (
    "models.contract",
    "models.experiments",
    "models.files",
    "models.bundle",
    "models.items",
    "models.store",
    "models.triton",
    "serving.items",
    "serving.ranker",
    "serving.transformer",
    "serving.check",
    "serving.rollout",
)
PACKAGES = ("models", "training", "serving")

REPORT = """
import json, sys
from importlib import import_module
for name in json.loads(sys.argv[1]):
    import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def modules_of(package: str) -> list[str]:
    """The package and every module below it, without running any but the packages' own files."""
    root = import_module(package)
    if not hasattr(root, "__path__"):
        return [package]
    return [package, *(m.name for m in pkgutil.walk_packages(root.__path__, prefix=f"{package}."))]


def loaded_by(names: list[str]) -> set[str]:
    program = [sys.executable, "-c", REPORT, json.dumps(names)]
    answer = subprocess.run(program, capture_output=True, text=True, check=True, timeout=100)
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", LIGHT)
def test_a_light_package_loads_nothing_heavy(package: str) -> None:
    names = [name for name in modules_of(package) if name != STUB_ONLY]
    assert names
    assert not loaded_by(names) & HEAVY


def test_the_command_line_starts_without_anything_heavy() -> None:
    assert not loaded_by(["serving.cli.main"]) & HEAVY


def test_the_rule_would_see_a_heavy_import() -> None:
    assert "torch" in loaded_by(["models.recommender.build"])


def test_package_files_are_empty_but_the_contracts() -> None:
    files = [path for package in PACKAGES for path in Path(import_module(package).__path__[0]).rglob("__init__.py")]
    assert len(files) > 10
    spoken = {path.parent.name for path in files if path.read_text().strip()}
    assert spoken == {"contract"}
