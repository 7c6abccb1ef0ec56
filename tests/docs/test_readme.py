"""What the documents say is held against the code: commands, links, the file map."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {part for part in path.relative_to(ROOT).parts if part.startswith(".")} and "build" not in path.parts
)
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def help_text() -> str:
    command = [sys.executable, "-m", "serving.cli.main", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_documents_are_found() -> None:
    assert len(DOCUMENTS) >= 10


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_commands_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    spoken = set(re.findall(r"(?:`|^\$ )make ([a-z0-9-]+)", document.read_text(), re.MULTILINE))
    assert spoken <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_sightline_commands_exist(document: Path, help_text: str) -> None:
    spoken = set(re.findall(r"(?:`|^\$ |^)(?:\.venv/bin/)?sightline ([a-z]+)", document.read_text(), re.MULTILINE))
    assert {word for word in spoken if not re.search(rf"\b{word}\b", help_text)} == set()


def test_the_file_map_names_what_is_there() -> None:
    block = README.split("## File map", 1)[1].split("```")[1]
    paths = [line.split()[0] for line in block.splitlines() if line and not line.startswith(" ")]
    assert len(paths) >= 15
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readme_names_every_make_command() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    targets = {line.split(":")[0] for line in lines if " ## " in line and not line.startswith("\t")}
    assert {target for target in targets if f"make {target}" not in README} == set()
