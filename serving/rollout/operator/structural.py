"""Structural schemas, which CustomResourceDefinitions have, from the JSON Schema of pydantic models.

Kubernetes takes a part of OpenAPI 3.0 of its own: no `$ref`, no `const`, no type `null`, no list with a schema per
place, a flag for an exclusive bound. Unknown fields need no word: the API server drops them, or refuses them for a
client that asks for strict validation, as kubectl does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
_KEPT = ("type", "description", "default", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength")
_LISTS = ("minItems", "maxItems")
_LONGEST = 253
"""Of a string that says nothing else: without a bound Kubernetes reckons rules with it to be too dear."""


class SchemaError(ValueError):
    """A model says something that a structural schema cannot."""


def structural(model: type[BaseModel], *, bounded: bool = False) -> Schema:
    """The model's structural schema.

    Args:
        bounded: whether strings that name no longest length get one of 253 characters, as rules need it.

    Raises:
        SchemaError: a field is a union of two types, or of no type that is known here.
    """
    whole = model.model_json_schema(by_alias=True)
    return _Writer(whole.get("$defs", {}), bounded).write(whole, model.__name__)


class _Writer:
    def __init__(self, definitions: Mapping[str, Schema], bounded: bool) -> None:
        self._definitions = definitions
        self._bounded = bounded

    def write(self, schema: Schema, name: str, *, required: bool = True) -> Schema:
        found, nullable = self._resolved(schema, name)
        made = {key: found[key] for key in _KEPT if key in found}
        if nullable and required:
            made["nullable"] = True  # elsewhere a null is dropped, and the field is not there
        if made.get("default", ...) is None:
            del made["default"]
        self._write_value(found, made)
        _write_bounds(found, made)
        match made.get("type"):
            case "object":
                self._write_object(found, made, name)
            case "array":
                self._write_list(found, made, name)
            case "string" if "enum" not in made and "format" not in made and self._bounded:
                made.setdefault("maxLength", _LONGEST)
            case "string" | "number" | "integer" | "boolean":
                pass
            case other:
                raise SchemaError(f"{name}: has type {other!r}; expected one that a structural schema knows")
        return made

    def _resolved(self, schema: Schema, name: str) -> tuple[Schema, bool]:
        """The schema without references and unions with null; and whether null was one of them."""
        if "anyOf" in schema:
            kinds = [each for each in schema["anyOf"] if each.get("type") != "null"]
            if len(kinds) != 1:
                raise SchemaError(f"{name}: is a union of {len(kinds)} types; a structural schema has one")
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            inner, _ = self._resolved({**kinds[0], **rest}, name)
            return inner, True
        if "$ref" in schema:
            target = self._definitions[schema["$ref"].rpartition("/")[2]]
            return self._resolved({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, name)
        return schema, False

    def _write_value(self, found: Schema, made: Schema) -> None:
        if "const" in found:
            made["enum"] = [found["const"]]
            made.setdefault("type", "string")

    def _write_object(self, found: Schema, made: Schema, name: str) -> None:
        extra = found.get("additionalProperties")
        if isinstance(extra, dict):
            made["additionalProperties"] = self.write(extra, name)
            return
        needed = found.get("required", [])
        made["properties"] = {
            key: self.write(each, key, required=key in needed) for key, each in found["properties"].items()
        }
        if needed:
            made["required"] = list(needed)

    def _write_list(self, found: Schema, made: Schema, name: str) -> None:
        kinds = found.get("prefixItems", [found.get("items")])
        if any(kind != kinds[0] for kind in kinds) or kinds[0] is None:
            raise SchemaError(f"{name}: is a list of {len(kinds)} different types; a structural schema has one")
        made["items"] = self.write(kinds[0], name)
        made |= {key: found[key] for key in _LISTS if key in found}


def _write_bounds(found: Schema, made: Schema) -> None:
    for inclusive, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in found:
            made[inclusive] = found[exclusive]
            made[exclusive] = True
