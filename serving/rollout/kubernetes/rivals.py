"""Experiments on one model's users: the first one has them, until it has ended."""

from __future__ import annotations

from serving.rollout.experiment.state import Phase
from serving.rollout.kubernetes.api import EXPERIMENT, Api, Object
from serving.rollout.kubernetes.objects import Owner

_ENDED = frozenset(phase.value for phase in Phase if phase.ended)


def rival(api: Api, owner: Owner, model: str) -> str | None:
    """The experiment of the namespace on the same model that began before this one and has not ended.

    Raises:
        RetryError: the API does not answer.
    """
    found = api.list(EXPERIMENT, owner.namespace)
    mine = next((each for each in found if each["metadata"]["uid"] == owner.uid), None)
    if mine is None:
        return None
    before = [each for each in found if _began(each) < _began(mine) and _model(each) == model and not _ended(each)]
    return str(min(before, key=_began)["metadata"]["name"]) if before else None


def _began(experiment: Object) -> tuple[str, str]:
    """Sorts by time; Kubernetes keeps whole seconds, so the uid decides between two of one second."""
    metadata = experiment["metadata"]
    return str(metadata.get("creationTimestamp", "")), str(metadata["uid"])


def _model(experiment: Object) -> str:
    return str(experiment.get("spec", {}).get("target", {}).get("model", "ranker"))


def _ended(experiment: Object) -> bool:
    return (experiment.get("status") or {}).get("phase") in _ENDED
