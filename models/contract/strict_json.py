"""JSON without its loose ends: no repeated keys, no NaN, one object at the top."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from models.contract.errors import ContractFormatError, Fault


def parse_object(data: str | bytes, where: str) -> dict[str, Any]:
    """The one object that `data` (UTF-8 if bytes) holds. Raises `ContractFormatError` naming the place."""
    try:
        document = json.loads(
            data if isinstance(data, str) else data.decode("utf-8"),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        fault = Fault(f"byte {error.start}", repr(data[error.start : error.end]), "UTF-8", "store the file as UTF-8")
        raise ContractFormatError(where, [fault]) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ContractFormatError(where, [Fault(place, error.msg, "well-formed JSON", "correct the JSON")]) from error
    except _NotStrictError as error:
        raise ContractFormatError(where, [error.fault]) from error
    except RecursionError as error:
        fault = Fault("(whole)", "nested too deeply", "a contract's depth", "write it with Contract.to_json")
        raise ContractFormatError(where, [fault]) from error
    if not isinstance(document, dict):
        fault = Fault("(whole)", f"a {type(document).__name__}", "an object", "write it with Contract.to_json")
        raise ContractFormatError(where, [fault])
    return document


class _NotStrictError(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(str(fault))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        fault = Fault(repeated[0], f"given {keys.count(repeated[0])} times", "one key", "remove the repeated key")
        raise _NotStrictError(fault)
    return document


def _refuse_constant(text: str) -> NoReturn:
    raise _NotStrictError(Fault("(number)", text, "a finite number", "replace it by a finite number"))
