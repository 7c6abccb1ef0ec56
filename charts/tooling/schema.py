"""values.schema.json from values.yaml: closed at every level, so that a misspelt value fails with its path.

`global` alone is open at its first level: Helm hands a chart all globals of the chart that it is a part of. The
templates refuse unknown ones where Sightline is installed by itself.
"""

import json
from collections.abc import Sequence
from typing import Any

from charts.tooling.kinds import KINDS
from charts.tooling.values import Value, ValuesError, read_values

TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
OPEN = {"type": "object", "additionalProperties": {"type": "string"}}
OPEN_GROUPS = {("global",)}


def schema_text() -> str:
    """The file's text. Raises ValuesError for values that cannot be turned into a schema."""
    return json.dumps(schema(read_values()), indent=2, ensure_ascii=False) + "\n"


def schema(values: Sequence[Value]) -> dict[str, Any]:
    """A draft-07 JSON schema of the whole values."""
    used = {leaf.annotations["kind"] for top in values for leaf in top.leaves() if "kind" in leaf.annotations}
    unknown = used - KINDS.keys()
    if unknown:
        raise ValuesError(f"@kind {', '.join(sorted(unknown))} is unknown; kinds.py has {', '.join(KINDS)}")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Sightline chart",
        "type": "object",
        "additionalProperties": False,
        "properties": {top.path[0]: _node(top) for top in values},
        "definitions": {name: schema for name, schema in KINDS.items() if name in used},
    }


def _node(value: Value) -> dict[str, Any]:
    described = {"description": value.description} if value.description else {}
    if value.children:
        group = {"type": "object", "additionalProperties": value.path in OPEN_GROUPS}
        return described | group | {"properties": {child.path[-1]: _node(child) for child in value.children}}
    return described | _leaf(value) | {"default": value.default}


def _leaf(value: Value) -> dict[str, Any]:
    notes = value.annotations
    if "kind" in notes:
        return {"$ref": f"#/definitions/{notes['kind']}"}
    if "like" in notes:
        return {"$ref": "#/properties/" + "/properties/".join(notes["like"].split("."))}
    if "open" in notes:
        return OPEN
    if "enum" in notes:
        return {"type": "string", "enum": notes["enum"].split("|")}
    types = notes["type"].split("|") if "type" in notes else [TYPES[type(value.default)]]
    bounds = {"minimum": "min", "maximum": "max"}
    return (
        {"type": types[0] if len(types) == 1 else types}
        | {key: json.loads(notes[note]) for key, note in bounds.items() if note in notes}
        | ({"pattern": notes["pattern"]} if "pattern" in notes else {})
    )
