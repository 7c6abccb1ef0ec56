"""Finds the commands and options that the project's messages and documents tell people to use."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACEHOLDER = "x1"
_COMMAND = re.compile(r"(?<![\w./@-])sightline ((?:--?[a-z]|[a-z]+\b)[^;`\n|]*)")
_MAKE = re.compile(r"(?<![\w-])make ([a-z][a-z0-9-]*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]+")


@dataclass(frozen=True)
class Said:
    """A text that a person may meet, and where it stands; placeholders of format strings are `x1`."""

    path: Path
    line: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[str]:
        return [match[1] for match in _COMMAND.finditer(self.text)]

    def targets(self) -> list[str]:
        return _MAKE.findall(self.text)

    def options(self) -> list[str]:
        """Options that stand alone, outside a command of this or another program."""
        alone = _COMMAND.sub("", self.text)
        alone = re.sub(r"(kubectl|helm|pip|pyenv|docker|buildah|apt-get|PYTHON_CONFIGURE_OPTS)\b.*", "", alone)
        return _OPTION.findall(alone)


def messages() -> Iterator[Said]:
    """Every string of the sources with a space in it, but docstrings."""
    for package in ("models", "training", "serving"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield from _strings(path)


def documents() -> Iterator[Said]:
    """Every line of the documents, notes and scripts."""
    skipped = {"build", "node_modules"}
    for pattern in ("*.md", "*.txt", "*.sh", "Makefile"):
        for path in sorted(ROOT.rglob(pattern)):
            parts = path.relative_to(ROOT).parts
            if not any(part.startswith(".") or part in skipped or part.endswith(".egg-info") for part in parts):
                for number, line in enumerate(path.read_text().splitlines(), start=1):
                    yield Said(path, number, line.split("  #")[0])


def _strings(path: Path) -> Iterator[Said]:
    tree = ast.parse(path.read_text())
    outside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            outside |= {id(part) for part in ast.walk(node) if part is not node}
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in outside:
            text = node.value
        else:
            continue
        if " " in text and id(node) not in outside:
            yield Said(path, node.lineno, text)


def words(command: str) -> list[str]:
    """The words of a command within prose, without the punctuation around it."""
    try:
        found = shlex.split(command.replace("'", " ").replace('"', " "), comments=True)
    except ValueError:
        found = command.split()
    return [word.strip(".,:()") if word not in ("--", "…") else word for word in found]
