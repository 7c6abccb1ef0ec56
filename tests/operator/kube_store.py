"""What a Kubernetes API server keeps, and how it changes: versions, generations, finalizers, owners, a log to watch."""

import copy
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Place = tuple[str, str, str]
"""Plural, namespace, name."""


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Store:
    """Objects. `check` raises ApiError for an object that may not be stored; `fill` gives it its defaults."""

    check: Callable[[str, Object], None] = lambda plural, body: None
    fill: Callable[[str, Object], Object] = lambda plural, body: body
    objects: dict[Place, Object] = field(default_factory=dict)
    log: list[tuple[int, str, str, Object]] = field(default_factory=list)
    """Version, type, plural, object."""
    forgotten: int = 0
    """Versions up to this one cannot be watched from any more: 410 Gone."""
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def version(self) -> int:
        return self.log[-1][0] if self.log else 0

    def get(self, plural: str, namespace: str, name: str) -> Object:
        with self.changed:
            found = self.objects.get((plural, namespace, name))
            if found is None:
                raise ApiError(404, f'{plural} "{name}" not found')
            return copy.deepcopy(found)

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        with self.changed:
            return copy.deepcopy(self.objects.get((plural, namespace, name)))

    def list(self, plural: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        with self.changed:
            return [
                copy.deepcopy(each)
                for (kind, place, _), each in sorted(self.objects.items())
                if kind == plural
                and namespace in (None, place)
                and wanted.items() <= (each["metadata"].get("labels") or {}).items()
            ]

    def create(self, plural: str, namespace: str, body: Object) -> Object:
        with self.changed:
            number = next(self._count)
            made = copy.deepcopy(body)
            metadata = made.setdefault("metadata", {})
            name = metadata.get("name") or f"{metadata.get('generateName', '')}{number:05d}"
            if (plural, namespace, name) in self.objects:
                raise ApiError(409, f'{plural} "{name}" already exists')
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_800_000_000 + number))
            metadata |= {"name": name, "namespace": namespace, "uid": f"uid-{number}", "generation": 1}
            metadata["creationTimestamp"] = stamp
            made = self.fill(plural, made)
            self.check(plural, made)
            return self._stored("ADDED", (plural, namespace, name), made)

    def update(self, plural: str, namespace: str, body: Object, subresource: str = "") -> Object:
        with self.changed:
            old = self.get(plural, namespace, body["metadata"]["name"])
            given = body["metadata"].get("resourceVersion")
            if given is not None and given != old["metadata"]["resourceVersion"]:
                raise ApiError(409, "the object has been modified; please apply your changes to the latest version")
            new = copy.deepcopy(body)
            if subresource == "status":
                new = {**old, "status": new.get("status", {})}
            elif plural in ("experiments", "deployments", "inferenceservices"):
                new = (
                    {**new, "status": old["status"]}
                    if "status" in old
                    else {k: v for k, v in new.items() if k != "status"}
                )
            for fixed in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "namespace"):
                if fixed in old["metadata"]:
                    new["metadata"][fixed] = old["metadata"][fixed]
            if managed := [each for each in new["metadata"].pop("managedFields", None) or () if each]:
                new["metadata"]["managedFields"] = managed
            new = self.fill(plural, new)
            self.check(plural, new)
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] += 1
            if _bare(new) == _bare(old):
                return old
            place = (plural, namespace, new["metadata"]["name"])
            if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
                return self._removed(place, new)
            return self._stored("MODIFIED", place, new)

    def patch(self, plural: str, namespace: str, name: str, changes: Object, manager: str = "") -> Object:
        """`manager`: who has changed the fields from then on, as `metadata.managedFields` says."""
        with self.changed:
            old = self.get(plural, namespace, name)
            new = merged(old, changes)
            fields = _fields({key: value for key, value in changes.items() if key != "metadata"})
            if manager and fields and _bare(new) != _bare(old):
                entry = {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}
                new["metadata"]["managedFields"] = [*(new["metadata"].get("managedFields") or []), entry]
            return self.update(plural, namespace, new)

    def delete(self, plural: str, namespace: str, name: str, uid: str | None = None) -> Object:
        with self.changed:
            found = self.get(plural, namespace, name)
            if uid not in (None, found["metadata"]["uid"]):
                raise ApiError(409, f"the UID in the precondition ({uid}) does not match")
            place = (plural, namespace, name)
            if not found["metadata"].get("finalizers"):
                return self._removed(place, found)
            if "deletionTimestamp" in found["metadata"]:
                return found
            found["metadata"] |= {
                "deletionTimestamp": "2027-01-15T08:00:00Z",
                "generation": found["metadata"]["generation"] + 1,
            }
            return self._stored("MODIFIED", place, found)

    def _stored(self, what: str, place: Place, body: Object) -> Object:
        version = self.version + 1
        body["metadata"]["resourceVersion"] = str(version)
        self.objects[place] = body
        self.log.append((version, what, place[0], copy.deepcopy(body)))
        self.changed.notify_all()
        return copy.deepcopy(body)

    def _removed(self, place: Place, body: Object) -> Object:
        gone = self._stored("DELETED", place, body)
        del self.objects[place]
        uid = gone["metadata"]["uid"]
        for plural, namespace, name in [
            key
            for key, each in self.objects.items()
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences") or ())
        ]:
            self.delete(plural, namespace, name)
        return gone


def _fields(changes: Any) -> Object:
    """A set of fields as `fieldsV1` writes it; a list is one field."""
    if not isinstance(changes, dict):
        return {}
    return {f"f:{key}": _fields(value) for key, value in changes.items()}


def merged(old: Any, changes: Any) -> Any:
    """RFC 7386, written apart from the code that it tests."""
    if not isinstance(changes, dict):
        return changes
    made = dict(old) if isinstance(old, dict) else {}
    for key, value in changes.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def _bare(body: Object) -> Object:
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k != "resourceVersion"}}
