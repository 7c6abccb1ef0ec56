"""Fields of other people's objects that this controller has changed, handed over to whoever applies those objects.

Server-side apply (Helm 4, Flux, Argo CD) refuses to change what another manager has written last, so a single field
that stayed ours would make every later `helm upgrade` fail. Handed over, the next upgrade decides about it: what it
names is set, what it does not name is taken out.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from serving.rollout.experiment.ports import RetryError
from serving.rollout.kubernetes.api import MANAGER, Api, ConflictError, Kind, Object

_TRIES = 5
"""A status is written between our two requests now and then, by the object's own controller."""
_NOBODYS = ("f:spec", "f:canary")
"""Nobody applies the canary entries: whoever did would take them out with the next upgrade."""


def hand_over(api: Api, kind: Kind, namespace: str, found: Object) -> Object:
    """Hand over what is ours in the object; the object as it is then. Raises RetryError."""
    for _ in range(_TRIES):
        managed = handed_over(found["metadata"].get("managedFields") or [])
        if managed is None:
            return found
        name, version = found["metadata"]["name"], found["metadata"]["resourceVersion"]
        try:
            return api.patch(kind, namespace, name, {"metadata": {"managedFields": managed}}, version=version)
        except ConflictError:
            again = api.get(kind, namespace, name)
            if again is None:
                return found
            found = again
    raise RetryError(
        f"{kind.name} {namespace}/{found['metadata']['name']} was changed by others {_TRIES} times while its fields "
        "were handed over; it is done in a later step"
    )


def handed_over(managed: Iterable[Object]) -> list[Object] | None:
    """`metadata.managedFields` with our fields at who applies the object, or at nobody; None where none are ours."""
    entries = list(managed)
    others = [entry for entry in entries if not _is_ours(entry)]
    if len(others) == len(entries):
        return None
    applier = next((entry for entry in others if _applies(entry)), None)
    ours = [_without(entry["fieldsV1"], _NOBODYS) for entry in entries if _is_ours(entry)]
    made = [
        {**entry, "fieldsV1": reduce(_union, filter(None, ours), entry["fieldsV1"])} if entry is applier else entry
        for entry in others
    ]
    return made or [{}]  # an empty list would mean: leave it as it is


def _is_ours(entry: Object) -> bool:
    return entry.get("manager") == MANAGER and not entry.get("subresource")


def _applies(entry: Object) -> bool:
    fields = entry.get("fieldsV1") or {}
    return entry.get("operation") == "Apply" and not entry.get("subresource") and "f:spec" in fields


def _union(one: Object, other: Object) -> Object:
    """Both sets of fields. An empty one is the field itself; beside fields within it that is written as "."."""
    if not one or not other:
        within = one or other
        return {".": {}, **within} if within else {}
    shared = {key: _union(one[key], other[key]) for key in one.keys() & other.keys()}
    return {**one, **other, **shared}


def _without(fields: Object, path: tuple[str, ...]) -> Object:
    """The set without a field; what is left empty by that goes too, since an empty one would mean all of it."""
    first, *rest = path
    if first not in fields:
        return fields
    others = {key: value for key, value in fields.items() if key != first}
    if not rest:
        return others
    left = _without(fields[first], tuple(rest))
    return {**others, first: left} if left or not fields[first] else others
