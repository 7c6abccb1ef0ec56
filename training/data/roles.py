"""What the columns of bring-your-own tables are for: by their names, and for other names by columns.yaml beside them.

    interactions: {customer: user_id, clicked: label, device: context, dwell_seconds: ignore}
    items: {ctr: ignore}

A column of `interactions` that is neither known by its name nor declared is refused: most of what a log holds beside
the label (dwell time, purchases, weights) is known only after it, and would tell a ranker the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.yaml_text import YamlTextError, yaml_documents
from training.data.faults import Faults, shown

FILE = "columns.yaml"
IGNORE, CONTEXT, FEATURE = "ignore", "context", "feature"
ROLES: Mapping[str, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id", "label", "rating", "timestamp", CONTEXT, IGNORE),
    "items": ("item_id", "image", FEATURE, IGNORE),
    "users": ("user_id", FEATURE, IGNORE),
}
_NAMED = (CONTEXT, FEATURE, IGNORE)
"""Roles that are not also a column's name."""
# pandas' index, with which the schema's check deals: it is no column, or has no name that a feature could have.
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+|")


@dataclass(frozen=True, slots=True)
class Roles:
    """The declared roles, by table and column."""

    declared: Mapping[str, Mapping[str, str]]

    @classmethod
    def parse(cls, text: str, faults: Faults) -> Roles:
        """Read the content of columns.yaml; what cannot be read has become a fault and is left out."""
        try:
            documents = yaml_documents(text)
        except YamlTextError as error:
            faults.add(FILE, "", str(error), "YAML", "Correct it")
            return cls({})
        document = documents[0] if len(documents) == 1 else documents or {}
        if not isinstance(document, dict):
            faults.add(FILE, "", shown(document), "a mapping of tables", f"Write, for instance: {_EXAMPLE}")
            return cls({})
        declared: dict[str, dict[str, str]] = {}
        for table, columns in document.items():
            if table not in ROLES:
                faults.add(FILE, str(table), "an unknown table", f"one of {', '.join(ROLES)}", "Correct its name")
            elif not isinstance(columns, dict):
                faults.add(FILE, str(table), shown(columns), "a mapping of columns", f"Write, for instance: {_EXAMPLE}")
            else:
                declared[table] = _checked(table, columns, faults)
        return cls(declared)

    def applied(self, table: str, found: pa.Table, faults: Faults) -> pa.Table:
        """The table with its columns under the names of their roles, without those that are ignored or at fault."""
        declared = dict(self.declared.get(table, {}))
        for name in sorted(set(declared) - set(found.column_names)):
            fix = f"Correct its spelling, or take it out of {FILE}"
            faults.add(FILE, f"{table}.{name}", "a role for it", f"a column of {table}, which has no such one", fix)
        _refuse_undeclared(table, [name for name in found.column_names if name not in declared], faults)
        names = [self._name(table, name, declared.get(name), faults) for name in found.column_names]
        _refuse_shared(table, found.column_names, names, faults)
        kept = [position for position, name in enumerate(names) if name is not None]
        return found.select(kept).rename_columns([name for name in names if name is not None])

    def _name(self, table: str, name: str, role: str | None, faults: Faults) -> str | None:
        """What the column is called from here on; None for one that is left out."""
        if role == IGNORE or (role is None and not _known(table, name)):
            return None
        if role is not None and role not in _NAMED:
            return role
        if role is not None and name in ROLES[table]:
            fix = f"Rename the column, or take it out of {FILE}"
            faults.add(FILE, f"{table}.{name}", f"the role {role}", f"{name}, which is what its name means", fix)
        return name


_EXAMPLE = "interactions: {device: context, dwell_seconds: ignore}"


def _checked(table: str, columns: Mapping[Any, Any], faults: Faults) -> dict[str, str]:
    known = {}
    for name, role in columns.items():
        if role in ROLES[table]:
            known[str(name)] = str(role)
            continue
        expected = f"one of {', '.join(ROLES[table])}"
        faults.add(FILE, f"{table}.{name}", f"the role {shown(role)}", expected, "Choose one of them")
    return known


def _known(table: str, name: str) -> bool:
    """Columns of items and users describe them and are features of their own accord; those of interactions are not."""
    return table != "interactions" or name in ROLES[table] or _INDEX.fullmatch(name) is not None


def _refuse_undeclared(table: str, names: list[str], faults: Faults) -> None:
    unknown = [name for name in dict.fromkeys(names) if not _known(table, name)]
    if unknown:
        told = ", ".join(f"{_quoted(name)}: {IGNORE}" for name in unknown)
        faults.add(
            table,
            ", ".join(unknown),
            f"{len(unknown)} column{'s' * (len(unknown) > 1)} without a role",
            "that roles are declared: context (known before the item is shown, and sent with each request), label, "
            "rating, timestamp, user_id, item_id or ignore",
            f"Write into {FILE} beside the tables: {table}: {{{told}}}",
        )


def _refuse_shared(table: str, given: list[str], names: list[str | None], faults: Faults) -> None:
    for name in sorted({name for name in names if name is not None and names.count(name) > 1}):
        owners = [old for old, new in zip(given, names, strict=True) if new == name]
        if len(set(owners)) > 1:  # two columns of one name are told as such
            fix = f"Ignore all but one in {FILE}"
            faults.add(table, name, f"the columns {', '.join(owners)}", f"one column for {name}", fix)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else f'"{name}"'
