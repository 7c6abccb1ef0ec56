"""Settings of a service from its command line and the environment: one way for all that take them so."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
NAMED = "also"
"""The repeatable setting of the form NAME=FOLDER."""


class SettingsError(ValueError):
    """Settings that cannot be used; names all of them at once."""


def read(
    kind: type[Model], parser: argparse.ArgumentParser, argv: Sequence[str], environment: Mapping[str, str], prefix: str
) -> Model:
    """Settings from arguments, then environment, then defaults.

    An unknown argument ends the program with argparse's message; abbreviations are not taken.

    Raises:
        SettingsError: a value that cannot be used, or an unknown variable that begins with `prefix`.
    """
    given = {key: value for key, value in vars(parser.parse_args(list(argv))).items() if value is not None}
    values: dict[str, Any] = {**_from_environment(environment, prefix, kind.model_fields), **given}
    faults = []
    if NAMED in values:
        entries = values[NAMED].split() if isinstance(values[NAMED], str) else values[NAMED]
        values[NAMED] = [tuple(entry.split("=", 1)) for entry in entries if _is_named(entry)]
        faults = [
            f"{NAMED}: is {entry!r}; expected NAME=FOLDER, such as ranker-ids=/bundles/ranker-ids"
            for entry in entries
            if not _is_named(entry)
        ]
    try:
        settings = kind(**values)
    except ValidationError as cause:
        faults += [f"{'.'.join(map(str, e['loc'])) or 'settings'}: {_reason(e)}" for e in cause.errors()]
        raise SettingsError("\n".join(faults)) from cause
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def parser_of(kind: type[BaseModel], program: str, description: str, prefix: str, word: str) -> argparse.ArgumentParser:
    """A parser with an argument per setting; `word` joins the words of a name: `_` as KServe has it, or `-`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=description,
        allow_abbrev=False,
        epilog=f"Every argument may also be set as an environment variable {prefix}<NAME>.",
    )
    for name, field in kind.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        text = f"{field.description} ({default})"
        action = "append" if name == NAMED else "store"
        parser.add_argument(f"--{name.replace('_', word)}", dest=name, help=text, action=action)
    return parser


def _is_named(entry: str) -> bool:
    name, _, folder = entry.partition("=")
    return bool(name and folder)


def _from_environment(environment: Mapping[str, str], prefix: str, names: Collection[str]) -> dict[str, str]:
    found = {}
    for key, value in environment.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix).lower()
            if name not in names:
                raise SettingsError(f"{key}: there is no setting {name!r}; remove the variable or correct its name")
            found[name] = value
    return found


def _reason(error: Any) -> str:
    if error["type"] == "missing":
        return f"is missing; give --{error['loc'][0]}"
    if error["type"] == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    return f"is {error['input']!r}; {error['msg']}"
