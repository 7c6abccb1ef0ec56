"""The chart's README.md: the prose of README.head.md, then a table of every value by section."""

import json
from collections.abc import Iterator
from typing import Any

from charts.tooling.kinds import KINDS
from charts.tooling.values import CHART, Value, read_values

HEAD = CHART / "README.head.md"
INTRODUCTION = """
## All values

Generated from the comments of values.yaml. A value that is not listed here is refused, with its path. `{}` and `[]` of
a Kubernetes field take what Kubernetes takes there, checked as strictly.
"""
TABLE = ("| Value | What it does | Default |", "| --- | --- | --- |")


def readme_text() -> str:
    """The whole file. Raises ValuesError as `read_values` does, OSError when the prose is missing."""
    values = read_values()
    groups = [top for top in values if top.children]
    plain = [top for top in values if not top.children]
    parts = [HEAD.read_text().rstrip(), INTRODUCTION.strip()]
    parts += ["\n".join(["### Names, labels and additions", "", *TABLE, *(_row(value) for value in plain)])]
    parts += ["\n".join(_section(group)) for group in groups]
    return "\n\n".join(parts) + "\n"


def _section(group: Value) -> Iterator[str]:
    yield f"### `{group.name}`"
    yield ""
    if group.description:
        yield group.description
        yield ""
    yield from TABLE
    for leaf in group.leaves():
        yield _row(leaf)
        yield from _settings(leaf)


def _row(value: Value) -> str:
    words = value.annotations.get("enum")
    text = value.description + (f" One of {', '.join(f'`{word}`' for word in words.split('|'))}." if words else "")
    return _cells(value.name, text, value.default)


def _settings(value: Value) -> Iterator[str]:
    """A row per setting of a service whose settings are values."""
    kind = value.annotations.get("kind", "")
    if kind.endswith("Settings"):
        for name, field in KINDS[kind]["properties"].items():
            description = field["description"]
            sentence = description[0].upper() + description[1:].rstrip(".") + "."
            yield _cells(f"{value.name}.{name}", sentence, value.default.get(name, field.get("default", "")))


def _cells(name: str, text: str, default: Any) -> str:
    shown = json.dumps(default, ensure_ascii=False)
    return f"| `{name}` | {text} | `{shown}` |".replace("\n", " ")
