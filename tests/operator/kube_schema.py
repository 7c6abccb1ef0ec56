"""The CustomResourceDefinition as the API server uses it: strict validation, defaults, nulls."""

from typing import Any

from jsonschema_rs import Draft202012Validator

_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def strict(schema: dict[str, Any], top: bool = False) -> dict[str, Any]:
    """As JSON Schema, in which an unknown field is an error, as it is for a client that asks for strict validation."""
    made = {
        key: value for key, value in schema.items() if not key.startswith("x-") and key not in ("default", "nullable")
    }
    for inclusive, exclusive in _BOUNDS:
        if made.pop(exclusive, False):
            made[exclusive] = made.pop(inclusive)
    if "properties" in schema:
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if top:
            made["properties"]["metadata"] = {"type": "object"}
        made["additionalProperties"] = False
    if "items" in schema:
        made["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(schema["additionalProperties"])
    if schema.get("nullable"):
        return {"anyOf": [{"type": "null"}, made]}
    return made


def validator(definition: dict[str, Any]) -> Draft202012Validator:
    """Of the definition's one version."""
    (version,) = definition["spec"]["versions"]
    return Draft202012Validator(strict(version["schema"]["openAPIV3Schema"], top=True))


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """The value with defaults filled in, and with nulls dropped where null is no value."""
    if isinstance(value, dict):
        parts, other = schema.get("properties", {}), schema.get("additionalProperties")
        made = {}
        for key, each in value.items():
            inner = parts.get(key, other if isinstance(other, dict) else {})
            if each is None and inner and not inner.get("nullable"):
                continue
            made[key] = defaulted(inner, each)
        for key, part in parts.items():
            if key not in made and "default" in part:
                made[key] = defaulted(part, part["default"])
        return made
    if isinstance(value, list):
        return [defaulted(schema.get("items", {}), each) for each in value]
    if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # rules see a double
    return value
