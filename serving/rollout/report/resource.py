"""An Experiment as the Kubernetes API gives it, read into its spec and state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from serving.rollout.experiment.rules import KEPT
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import State

_Read = TypeVar("_Read", bound=BaseModel)

REASON_ANNOTATION = "sightline.dev/reason"
"""Why somebody paused or ended the experiment, in their own words."""


class ResourceError(Exception):
    """An Experiment that cannot be read; the message says which field, and what to do."""


@dataclass(frozen=True, slots=True)
class Resource:
    """An Experiment. `state` None: no controller has seen it yet. `given_reason`: what a person said of it."""

    name: str
    namespace: str
    uid: str
    created: datetime | None
    spec: ExperimentSpec
    state: State | None
    given_reason: str = ""


def read(document: Mapping[str, Any]) -> Resource:
    """Read the object. Raises ResourceError."""
    metadata = document.get("metadata") or {}
    name, namespace = str(metadata.get("name", "")), str(metadata.get("namespace", ""))
    where = f"Experiment {name or '(unnamed)'} in {namespace or '(no namespace)'}"
    kept = (document.get("status") or {}).get("state")
    begun = None if kept is None else KEPT  # what an earlier version let begin is gone on with
    spec = _part(ExperimentSpec, document.get("spec"), f"{where}: spec", "correct it with `kubectl edit`", begun)
    advice = "it was written by another version of the controller: use that version's command line"
    state = None if kept is None else _part(State, kept, f"{where}: status.state", advice, KEPT)
    created = metadata.get("creationTimestamp")
    return Resource(
        name,
        namespace,
        str(metadata.get("uid", "")),
        None if created is None else datetime.fromisoformat(str(created)),
        spec,
        state,
        str((metadata.get("annotations") or {}).get(REASON_ANNOTATION, "")),
    )


def _part(kind: type[_Read], value: Any, where: str, advice: str, context: str | None) -> _Read:
    try:
        if isinstance(value, str):
            return kind.model_validate_json(value, context=context)
        return kind.model_validate(value, context=context)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors())
        raise ResourceError(f"{where} cannot be read ({faults}); {advice}") from error
