"""Every command that a message or a document names exists as it is printed there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from remedies import PLACEHOLDER, ROOT, Said, documents, messages, words

from serving.cli.main import app
from serving.cli.placement import leaves

COMMAND = typer.main.get_command(app)
MESSAGES, DOCUMENTS = list(messages()), list(documents())
SIGHTLINE = "sightline"
PROGRAMS = {
    "serving/backfill": "serving.backfill.run",
    "serving/captioner": "serving.captioner.run",
    "serving/items": "serving.transformer.run",
    "serving/ranker": "serving.ranker.run",
    "serving/rollout/bench": "serving.rollout.bench.analysis",
    "serving/rollout/collector": "serving.rollout.collector.run",
    "serving/rollout/operator": "serving.rollout.operator.run",
    "serving/rollout/verdict": "serving.rollout.verdict.run",
    "serving/transformer": "serving.transformer.run",
    "training": "training.job",
    "serving": SIGHTLINE,
    "models": SIGHTLINE,
}
"""Whose options the messages of a folder speak of; the first that fits counts."""


def command_of(given: list[str]) -> tuple[str, Any, list[str]] | None:
    """The command's name, the command and its words; None for prose such as `sightline answers`."""
    known, group, name = _options(COMMAND), COMMAND, [SIGHTLINE]
    rest = list(given)
    while rest and getattr(group, "commands", None):
        word = rest.pop(0)
        if word in group.commands:
            group = group.commands[word]
            name.append(word)
        elif word in known:
            rest = rest[0 if known[word] else 1 :]
        else:
            return None
    return " ".join(name), group, rest


def _options(command: Any) -> dict[str, bool]:
    """Option to whether it is a flag."""
    found = {"--help": True}
    for each in command.params:
        found |= {name: bool(getattr(each, "is_flag", False)) for name in (*each.opts, *each.secondary_opts)}
    return found


def unknown_options(given: list[str]) -> list[str]:
    found = command_of(given)
    if found is None:
        return []
    name, command, rest = found
    known = _options(command) | _options(COMMAND)
    return [f"{name} has no {word}" for word in rest if word.startswith("--") and word.partition("=")[0] not in known]


def lacks(given: list[str]) -> list[str]:
    """What a command needs and was printed without; a lone mention of a command's purpose may lack all of it."""
    found = command_of(given)
    if found is None or getattr(found[1], "commands", None) or "--help" in given:
        return []
    name, command, rest = found
    flags = _options(command) | _options(COMMAND)
    values, at = 0, 0
    while at < len(rest):
        if rest[at].startswith("-"):
            at += 1 if flags.get(rest[at], True) or "=" in rest[at] else 2
        elif re.fullmatch(r"[A-Z{]+\S*|x1|.*/.*|\S*x1\S*", rest[at]):
            values, at = values + 1, at + 1
        else:
            break  # prose goes on
    needed = [each for each in command.params if each.required]
    missing = [each.opts[0] for each in needed if each.opts[0].startswith("-") and not set(each.opts) & set(rest)]
    arguments = [each for each in needed if not each.opts[0].startswith("-")]
    return [f"{name} needs {what}" for what in [*missing, *(each.name for each in arguments[values:])]]


def test_commands_in_messages_have_their_options_and_what_they_need() -> None:
    found = [(said, words(command)) for said in MESSAGES for command in said.commands()]
    known = [(said, given) for said, given in found if command_of(given) is not None]
    assert len(known) >= 25
    faults = [f"{said.where}: {fault}" for said, given in known for fault in [*unknown_options(given), *lacks(given)]]
    assert faults == []


def test_commands_in_documents_have_their_options() -> None:
    found = [(said, words(command)) for said in DOCUMENTS for command in said.commands()]
    known = [(said, given) for said, given in found if command_of(given) is not None]
    assert len(known) >= 60
    assert [f"{said.where}: {fault}" for said, given in known for fault in unknown_options(given)] == []


def test_make_targets_exist_wherever_they_are_named() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    in_messages = [(said, target) for said in MESSAGES for target in said.targets()]
    in_code = r"(?:`|^\$ |^|: )make ([a-z][a-z0-9-]*)(?:`| *$| +[A-Z0-9]+=)"
    in_documents = [(said, target) for said in DOCUMENTS for target in re.findall(in_code, said.text)]
    spoken = [(said, target) for said, target in in_messages if target in targets or _is_remedy(said, target)]
    assert len(spoken) >= 4
    assert len(in_documents) >= 40
    assert [f"{said.where}: make {target}" for said, target in [*spoken, *in_documents] if target not in targets] == []


def _is_remedy(said: Said, target: str) -> bool:
    """`make x` at the end of a clause is a command; in the middle of one it is English."""
    return re.search(rf"[:;`] ?make {target}(?:[.`;,)]|$)", said.text) is not None


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """Program to the options that its own help, or its parser, has."""
    found = {SIGHTLINE: {name for _, command in leaves(COMMAND) for name in (*_options(command), *_options(COMMAND))}}
    for module in sorted(set(PROGRAMS.values()) - {SIGHTLINE}):
        answer = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=100)
        assert answer.returncode == 0, answer.stderr
        found[module] = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]*", answer.stdout))
        subcommands = re.search(r"arguments:\n  ([a-z]+(?:\|[a-z]+)+)\n", answer.stdout)
        for each in subcommands[1].split("|") if subcommands else ():
            more = subprocess.run([sys.executable, "-m", module, each, "--help"], capture_output=True, text=True)
            found[module] |= set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]*", more.stdout))
    return found


@pytest.mark.timeout(600)
def test_options_in_messages_belong_to_the_program_that_says_them(options: dict[str, set[str]]) -> None:
    spoken = [(said, option) for said in MESSAGES for option in said.options() if _is_message(said.path)]
    spoken = [(said, option) for said, option in spoken if option != f"--{PLACEHOLDER}"]
    assert len(spoken) >= 50
    faults = []
    for said, option in spoken:
        path = str(said.path.relative_to(ROOT))
        program = next(program for folder, program in PROGRAMS.items() if path.startswith(folder))
        if option not in options[program]:
            faults.append(f"{said.where}: {program} has no {option}")
    assert faults == []


def _is_message(path: Path) -> bool:
    """Command lines that are built for other programs are no messages."""
    built = (
        "serving/ranker/command.py",
        "serving/images",
        "serving/replay",
        "serving/cluster",
        "training/data/movielens.py",
    )
    return not str(path.relative_to(ROOT)).startswith(built)


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("--version", 0, "sightline "),
        ("status", 1, "not running; start it: sightline up"),
        ("down", 0, "nothing was running"),
        ("status --json", 1, '"running": false'),
        ("rank --user 1 --items 2", 1, "start it: sightline up"),
        ("export nowhere repository", 1, "nowhere"),
        ("contract show", 1, "bundle"),
        ("--show-completion bash", 0, "_SIGHTLINE_COMPLETE"),
    ],
)
def test_cheap_ones_run(tmp_path: Path, given: str, code: int, said: str) -> None:
    command = [sys.executable, "-m", "serving.cli.main", "--root", str(tmp_path), *given.split()]
    in_a_shell = ["bash", "-c", '"$@"; exit $?', "bash", *command]  # which completion looks for among its parents
    answer = subprocess.run(in_a_shell, capture_output=True, text=True, timeout=100, check=False)
    assert answer.returncode == code, answer.stderr
    assert said in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_every_make_target_is_well_formed() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in targets:
        dry = subprocess.run(
            ["make", "-n", target, "KUBECONFIG=x"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert dry.returncode == 0, f"{target}: {dry.stderr}"
