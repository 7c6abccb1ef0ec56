"""Reading and making Kubernetes objects: names, labels, owners, differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.rollout.experiment.ports import RefusedError
from serving.rollout.experiment.spec import GROUP, KIND, VERSION
from serving.rollout.kubernetes.api import Kind, Object

LABEL = "sightline.dev/experiment"
"""On everything that is made for an experiment, its pods included: the experiment's name."""
UID = "sightline.dev/experiment-uid"
BUNDLE_ID = "sightline.dev/bundle-id"
"""Annotations: of which experiment, and of which bundle."""
GRPC_PORT = 9000
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class Owner:
    """The experiment that objects are made for."""

    name: str
    namespace: str
    uid: str

    def reference(self) -> Object:
        """Makes Kubernetes delete the object with the experiment."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }

    def owns(self, found: Object) -> bool:
        """Whether the object was made for this very experiment."""
        return bool(annotations_of(found).get(UID) == self.uid)

    def require(self, kind: Kind, found: Object) -> None:
        """Raises RefusedError for an object of somebody else."""
        if not self.owns(found):
            name = found["metadata"]["name"]
            raise RefusedError(
                f"{kind.name} {self.namespace}/{name} is there already and is not of Experiment {self.name}: "
                "give the experiment another name, or delete the object"
            )


def annotations_of(found: Object) -> Mapping[str, str]:
    """The object's annotations."""
    return found.get("metadata", {}).get("annotations") or {}


def annotated(component: Object) -> Mapping[str, str]:
    """The annotations of a part of an InferenceService, which has no metadata."""
    return component.get("annotations") or {}


def labels_of(found: Object) -> Mapping[str, str]:
    """The object's labels."""
    return found.get("metadata", {}).get("labels") or {}


def checked_name(name: str) -> str:
    """The name, if it is short enough for a Service. Raises RefusedError."""
    if len(name) > _LONGEST_NAME:
        raise RefusedError(
            f"the candidate's objects would be named {name}, {len(name)} characters long; expected at most "
            f"{_LONGEST_NAME}: give the experiment a shorter name"
        )
    return name


def leaving(found: Object) -> bool:
    """Whether the object is being deleted."""
    return "deletionTimestamp" in found["metadata"]


def selected(selector: Mapping[str, str], given: Mapping[str, str]) -> bool:
    """Whether a selector with these labels catches what has those."""
    return bool(selector) and selector.items() <= given.items()


def headless_service(name: str, owner: Owner, selector: Mapping[str, str], own_labels: Mapping[str, str]) -> Object:
    """The Service under which transformers find the candidate's pods, each of them."""
    port = {
        "name": "h2c",
        "port": GRPC_PORT,
        "targetPort": GRPC_PORT,
        "protocol": "TCP",
        "appProtocol": "kubernetes.io/h2c",
    }
    return {
        "metadata": {
            "name": name,
            "labels": {**own_labels, LABEL: owner.name},
            "annotations": {UID: owner.uid},
            "ownerReferences": [owner.reference()],
        },
        "spec": {"type": "ClusterIP", "clusterIP": "None", "selector": dict(selector), "ports": [port]},
    }


def changes(old: Any, new: Any) -> Any:
    """The merge patch (RFC 7386) that makes `old` into `new`; {} where they are the same. Lists are replaced whole."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    made: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            made[key] = value
        elif old[key] != value:
            made[key] = changes(old[key], value)
    return made
