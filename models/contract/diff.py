"""What changed between two contracts, in words, and whether it needs a higher version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.contract.errors import VersionBumpError, shown
from models.contract.schema import Contract

KINDS = ("dense", "categorical")
_HEAD = ("format", "name", "version", "description")


@dataclass(frozen=True, slots=True)
class Difference:
    """One change: its path, what it is in words, and whether it is part of what is encoded (descriptions are not)."""

    path: str
    words: str
    encoded: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"


def differences(old: Contract, new: Contract) -> tuple[Difference, ...]:
    """Every change from `old` to `new`, the version's included; features are matched by name."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    found = _fields("", {k: before[k] for k in _HEAD}, {k: after[k] for k in _HEAD})
    for kind in KINDS:
        found += _features(kind, before[kind], after[kind])
    return tuple(found + _value("caption", before["caption"], after["caption"]))


def check_bump(old: Contract, new: Contract) -> None:
    """Raise `VersionBumpError` if anything but descriptions changed and `version` did not grow."""
    changes = [change for change in differences(old, new) if change.encoded and change.path != "version"]
    if new.version < old.version or (changes and new.version == old.version):
        listed = "".join(f"\n  - {change}" for change in changes)
        raise VersionBumpError(
            f"contract {new.name}: version is {new.version}; expected at least "
            f"{old.version + bool(changes)}, after version {old.version}; raise `version` or undo:{listed}"
        )


def _features(kind: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Difference]:
    before, after = {f["name"]: f for f in old}, {f["name"]: f for f in new}
    found = [Difference(f"{kind}.{name}", "removed", True) for name in before if name not in after]
    found += [Difference(f"{kind}.{name}", "added", True) for name in after if name not in before]
    kept_before = [name for name in before if name in after]
    kept_after = [name for name in after if name in before]
    if kept_before != kept_after:
        words = f"order changed from {', '.join(kept_before)} to {', '.join(kept_after)}"
        found.append(Difference(kind, words, True))
    for name in kept_before:
        found += _fields(f"{kind}.{name}", before[name], after[name])
    return found


def _fields(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    found: list[Difference] = []
    for key in (*old, *(key for key in new if key not in old)):
        found += _value(f"{path}.{key}".lstrip("."), old.get(key), new.get(key))
    return found


def _value(path: str, old: Any, new: Any) -> list[Difference]:
    if old == new:
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _fields(path, old, new)
    encoded = path.rsplit(".", 1)[-1] != "description"
    if path.endswith("encoding.values") and old and new:
        return [Difference(path, _values_in_words(old, new), encoded)]
    words = "added" if old is None else "removed" if new is None else f"changed from {shown(old)} to {shown(new)}"
    return [Difference(path, words, encoded)]


def _values_in_words(old: Sequence[str], new: Sequence[str]) -> str:
    before, after = set(old), set(new)
    gone = [value for value in old if value not in after]
    come = [value for value in new if value not in before]
    parts = [f"{len(gone)} removed {shown(gone)}"] if gone else []
    parts += [f"{len(come)} added {shown(come)}"] if come else []
    return "; ".join(parts) or "order changed"
