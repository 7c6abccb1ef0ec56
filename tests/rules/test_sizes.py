"""Small files with one noun each, small functions."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"utils", "util", "common", "helpers", "helper", "misc"}


def sources() -> list[Path]:
    return [path for package in ("models", "training", "serving") for path in (ROOT / package).rglob("*.py")]


def test_no_file_is_longer_than_320_lines() -> None:
    assert len(sources()) > 40
    assert {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > 320} == {}


def test_no_function_is_longer_than_55_lines() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": node.end_lineno - node.lineno
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno > 55
    }
    assert long == {}


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert [path for path in sources() if path.stem in FORBIDDEN] == []
