"""The spec of a KServe predictor: which model it serves, a candidate made of it, and the candidate in its place.

A predictor is of a ServingRuntime (`model`) or a pod of its own (`containers`); KServe brings the model to either.
"""

from __future__ import annotations

import copy

from serving.rollout.experiment.ports import RefusedError
from serving.rollout.kubernetes.api import Object
from serving.rollout.kubernetes.fetching import fetched
from serving.rollout.kubernetes.loan import Replicas
from serving.rollout.kubernetes.objects import BUNDLE_ID, LABEL, UID, Owner, annotated

_SCALING = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")
_AUTOSCALER = "serving.kserve.io/autoscalerClass"
_CONTAINER = "kserve-container"
_STORAGE = "STORAGE_URI"
"""The variable by which KServe is told what to bring to a container of one's own."""


def served(predictor: Object) -> str | None:
    """What KServe brings it, or what its pods fetch themselves."""
    return _storage(predictor) or fetched(predictor)


def candidate(stable: Object, owner: Owner, *, bundle_id: str, storage: str, where: str) -> Object:
    """The stable predictor with the candidate's model, and without its numbers of pods.

    KServe leaves the numbers of a canary to its entry; an autoscaler of it would belong to nobody, and outlive it.

    Raises:
        RefusedError: KServe takes no candidate beside such a predictor; `where` names it.
    """
    if any(each.get("name") == "transformer-container" for each in stable.get("containers") or ()):
        raise RefusedError(
            f"{where} has its transformer in the predictor's pods, which can ask only the Triton beside it; set "
            "ranker.inferenceService.transformer=separate"
        )
    if _storage(stable) is None:
        raise RefusedError(
            f"{where} has no storageUri, and KServe takes a candidate, and its promotion, only where it brings the "
            "model itself: set model.source=store and ranker.inferenceService.storage=kserve"
        )
    made = {key: copy.deepcopy(value) for key, value in stable.items() if key not in _SCALING}
    made.pop("canaryTrafficPercent", None)
    _store(made, storage)
    if "model" in made:
        made["model"].setdefault("name", _CONTAINER)  # the schema of canaries wants it; it is KServe's own
    made["name"] = owner.name
    made["labels"] = {**(made.get("labels") or {}), LABEL: owner.name}
    marks = {_AUTOSCALER: "none", UID: owner.uid, BUNDLE_ID: bundle_id}
    return {**made, "annotations": {**annotated(made), **marks}}


def promoted(stable: Object, entry: Object, replicas: Replicas) -> Object:
    """The candidate as the predictor: scaled as stable was, with these numbers of pods."""
    made = {key: copy.deepcopy(value) for key, value in entry["predictor"].items() if key not in _SCALING}
    if "model" in made:
        made["model"].pop("name", None)  # KServe takes it in canaries alone
    marks = {key: value for key, value in annotated(made).items() if key != _AUTOSCALER}
    scaled_by = {key: value for key, value in annotated(stable).items() if key == _AUTOSCALER}
    scaling = {key: copy.deepcopy(value) for key, value in stable.items() if key in _SCALING}
    return {**made, **rescaled(scaling, replicas), "annotations": marks | scaled_by}


def rescaled(predictor: Object, replicas: Replicas) -> Object:
    """A predictor with other numbers of pods."""
    others = {key: value for key, value in predictor.items() if key not in ("minReplicas", "maxReplicas")}
    return others | replicas.fields()


def _storage(predictor: Object) -> str | None:
    if "model" in predictor:
        found = predictor["model"].get("storageUri")
        return None if found is None else str(found)
    return next((str(each["value"]) for each in _environment(predictor) if each.get("name") == _STORAGE), None)


def _store(predictor: Object, uri: str) -> None:
    if "model" in predictor:
        predictor["model"]["storageUri"] = uri
        return
    for each in _environment(predictor):
        if each.get("name") == _STORAGE:
            each["value"] = uri


def _environment(predictor: Object) -> list[Object]:
    containers: list[Object] = predictor.get("containers") or []
    main = next((each for each in containers if each.get("name") == _CONTAINER), Object())
    return list(main.get("env") or [])
