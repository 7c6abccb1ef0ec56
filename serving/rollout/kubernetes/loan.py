"""Pods that stable is lent while a candidate stands beside it in an InferenceService.

KServe runs stable at `max(minReplicas - the canaries' pods, 1)` from the moment a canary entry is there, however little
traffic it has. So minReplicas is raised by the candidate's pods in the very patch that brings the entry, and given back
in the one that takes it out. What stable had before is written in that entry, which cannot be there without the loan.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from serving.rollout.experiment.ports import RefusedError
from serving.rollout.kubernetes.api import Object
from serving.rollout.kubernetes.objects import annotated

STABLE_REPLICAS = "sightline.dev/stable-replicas"
"""Annotation of the candidate's predictor: stable's numbers of pods before it was lent any, as JSON.

A promoted predictor keeps it: its pods would be replaced without.
"""


@dataclass(frozen=True, slots=True)
class Replicas:
    """A predictor's minReplicas and maxReplicas; None: not set."""

    least: int | None
    most: int | None

    @classmethod
    def of(cls, fields: Object) -> Replicas:
        """Those of a predictor, or of the text of the annotation."""
        return cls(fields.get("minReplicas"), fields.get("maxReplicas"))

    def raised(self, pods: int) -> Replicas:
        """With so many pods lent. KServe takes no minReplicas above maxReplicas, and 0 for none."""
        least = (1 if self.least is None else self.least) + pods
        return Replicas(least, max(self.most, least) if self.most else self.most)

    def fields(self) -> Object:
        """As a predictor has them."""
        named = {"minReplicas": self.least, "maxReplicas": self.most}
        return {name: value for name, value in named.items() if value is not None}

    def text(self) -> str:
        """For the annotation."""
        return json.dumps(self.fields(), sort_keys=True)


def before_loan(predictor: Object, entry: Object | None) -> Replicas:
    """Stable's own numbers, without what it is lent for the entry.

    Whoever has set other numbers meanwhile (helm, a person) has taken the loan back: then these are its own. Raises
    RefusedError for an annotation that somebody has changed.
    """
    now = Replicas.of(predictor)
    if entry is None or (text := annotated(entry["predictor"]).get(STABLE_REPLICAS)) is None:
        return now
    try:
        own = Replicas.of(json.loads(text))
        lent = own.raised(int(entry["predictor"].get("minReplicas", 1)))
    except (ValueError, TypeError, AttributeError) as error:
        name = entry["predictor"].get("name")
        raise RefusedError(
            f"canary {name} has annotation {STABLE_REPLICAS}: {text!r}; expected JSON such as "
            f'{{"minReplicas": 2}}: set it to the numbers that stable is to have afterwards'
        ) from error
    return own if now == lent else now
