"""Options in the wrong place: those of every command are taken anywhere, others are answered with where they belong."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

Command = Any
"""A command or group of typer, whose classes of click are its own."""


class MisplacedOptionError(Exception):
    """An option that its command does not have; the message names those that do."""


def placed(root: Command, words: Sequence[str]) -> list[str]:
    """The command line with the root's own options moved before the command's name.

    Raises:
        MisplacedOptionError: an option of another command, or one before its command's name.
    """
    before, path, rest = _parted(root, list(words))
    if not path:
        return list(words)
    leaf, name = _find(root, path), " ".join(["sightline", *path])
    front: list[str] = []
    kept: list[str] = []
    at = 0
    while at < len(rest):
        word = rest[at]
        if word == "--":
            kept += rest[at:]
            break
        option = word.partition("=")[0]
        length = _length(leaf, word)
        if length:
            kept += rest[at : at + length]
        elif _length(root, word) and option != "--help":
            length = _length(root, word)
            front += rest[at : at + length]
        else:
            length = 1
            if option.startswith("--"):
                _refuse(root, name, option)
            kept.append(word)
        at += length
    return [*before, *front, *path, *kept]


def _parted(root: Command, words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The root's options, the names of group and command, and all after them."""
    before: list[str] = []
    path: list[str] = []
    group, at = root, 0
    while at < len(words) and getattr(group, "commands", None):
        word = words[at]
        if word in group.commands:
            path.append(word)
            group = group.commands[word]
            at += 1
        elif word.startswith("-") and (length := _length(root, word)):
            before += words[at : at + length]
            at += length
        elif word.startswith("--"):
            _refuse_early(root, group, path, words, at)
            return words, [], []
        else:
            return words, [], []  # an unknown command: answered with the one that is like it
    return before, path, words[at:]


def _refuse_early(root: Command, group: Command, path: list[str], words: list[str], at: int) -> None:
    """An option before the command that it belongs to."""
    following = next((word for word in words[at:] if word in group.commands), None)
    if following is None:
        return
    command = group.commands[following]
    option, place = words[at].partition("=")[0], words.index(following, at)
    if getattr(command, "commands", None) or not _length(command, option):
        return
    right = [*words[: at - len(path)], *path, following, *words[at:place], *words[place + 1 :]]
    name = " ".join(["sightline", *path, following])
    raise MisplacedOptionError(f"{option} is an option of {name} and belongs after its name: sightline {_line(right)}")


def _refuse(root: Command, name: str, option: str) -> None:
    """An option that others have; a misspelt one is left to click, which knows what is like it."""
    others = [other for other, command in leaves(root) if option in _names(command)]
    if others:
        raise MisplacedOptionError(f"{name} has no option {option}; it belongs to: {', '.join(others)}")


def leaves(group: Command, path: str = "sightline") -> Iterator[tuple[str, Command]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _find(root: Command, path: list[str]) -> Command:
    command = root
    for name in path:
        command = command.commands[name]
    return command


def _names(command: Command) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts) if name.startswith("-")}


def _length(command: Command, word: str) -> int:
    """How many words an option of the command takes, itself included; 0 if it has none of that name."""
    option, given, _ = word.partition("=")
    if option == "--help":
        return 1
    for each in command.params:
        if option in (*each.opts, *each.secondary_opts) and option.startswith("-"):
            return 1 if given or getattr(each, "is_flag", False) else 2
    return 0


def _line(words: Sequence[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
