"""values.yaml as a tree: every value with its default, its comment and the annotations in the comment.

A value's comment is the block of `#` lines right above it, at any depth. Lines `# @name argument` are annotations:

    # @enum a|b         one of these words            # @type integer|string   a type that the default does not tell
    # @min 0  # @max 9  bounds of a number            # @open                  a free map: labels, annotations
    # @pattern ^…$      what a text must match        # @kind resources        a closed schema of kinds.py
                                                      # @like global.pod       the same closed schema as that value
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

CHART = Path(__file__).parents[1] / "sightline"
ANNOTATIONS = frozenset({"enum", "min", "max", "type", "kind", "open", "like", "pattern"})
# An empty list or map says nothing about what may be in it, null nothing about the type.
UNTELLING: tuple[Any, ...] = ([], {}, None)


class ValuesError(ValueError):
    """values.yaml cannot be turned into a schema; the message lists every fault with its value's path."""


@dataclass(frozen=True)
class Value:
    """One value, or a group of them when `children` is not empty."""

    path: tuple[str, ...]
    default: Any
    description: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    children: tuple["Value", ...] = ()

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def leaves(self) -> Iterator["Value"]:
        """All values below that are no groups, in the order of the file."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def read_values(file: Path = CHART / "values.yaml") -> tuple[Value, ...]:
    """The top-level values. Raises ValuesError when a value has no comment or an annotation is unknown."""
    text = file.read_text()
    values = tuple(_children(YAML().load(text), (), text.splitlines()))
    faults = [fault for top in values for fault in _faults(top)]
    if faults:
        raise ValuesError(f"{file.name}:\n  " + "\n  ".join(faults))
    return values


def _children(mapping: CommentedMap, path: tuple[str, ...], lines: list[str]) -> Iterator[Value]:
    for key, default in mapping.items():
        description, annotations = _comment(lines, mapping.lc.key(key)[0])
        here = (*path, str(key))
        closed_elsewhere = annotations.keys() & {"kind", "like", "open"}
        is_group = isinstance(default, CommentedMap) and default and not closed_elsewhere
        children = tuple(_children(default, here, lines)) if is_group else ()
        yield Value(here, _plain(default), description, annotations, children)


def _comment(lines: list[str], line: int) -> tuple[str, dict[str, str]]:
    start = line
    while start > 0 and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    texts = [text.strip().lstrip("#").strip() for text in lines[start:line]]
    notes = [text[1:].partition(" ") for text in texts if text.startswith("@")]
    return " ".join(text for text in texts if text and text[0] != "@"), {name: rest.strip() for name, _, rest in notes}


def _plain(node: Any) -> Any:
    """Without ruamel's classes, so that it can be written as JSON."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _faults(value: Value) -> Iterator[str]:
    for unknown in sorted(value.annotations.keys() - ANNOTATIONS):
        yield f"{value.name}: annotation @{unknown} is unknown; expected one of {', '.join(sorted(ANNOTATIONS))}"
    for child in value.children:
        yield from _faults(child)
    if value.children:
        return
    if not value.description:
        yield f"{value.name}: has no comment; write what it does on the line above"
    if value.default in UNTELLING and not value.annotations.keys() & {"kind", "like", "open", "type"}:
        yield f"{value.name}: default {value.default!r} tells no type; annotate it: @kind, @like, @open or @type"
