"""What the world should be like in a state. Pure: the same state always wants the same world."""

from __future__ import annotations

from dataclasses import dataclass

from models.experiments.assignment import BUCKETS, Arm, Assignment
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Phase, State

CANDIDATE = "candidate"
"""The arm's name, in assignments, exposures, evidence and metrics; the other one is `assignment.STABLE`."""

_SERVING = frozenset({Phase.SHADOW, Phase.RUNNING, Phase.WAITING, Phase.PROMOTING})


@dataclass(frozen=True, slots=True)
class Desired:
    """The world that a state wants. `share` and `shadow` are in buckets: hundredths of a percent of all users."""

    candidate: bool
    """The candidate's objects exist, or stay if they do."""
    share: int
    """Users of the candidate; as many are compared on stable."""
    shadow: int
    """Users whose rankings the candidate scores unseen."""
    everyone: bool
    """All users get the candidate, while it replaces stable."""
    promote: bool
    """Stable is being replaced by the candidate."""

    @property
    def traffic(self) -> bool:
        """Whether an assignment is published."""
        return self.share > 0 or self.shadow > 0 or self.everyone


def desired(spec: ExperimentSpec, state: State) -> Desired:
    """What should be. Once it has begun the spec that it follows counts, not what the resource has now."""
    spec = state.started or spec
    if state.phase is Phase.PREPARING:
        return Desired(candidate=state.bundle_id is not None, share=0, shadow=0, everyone=False, promote=False)
    if state.phase not in _SERVING:
        leaving = state.phase is Phase.STOPPING and not state.drained
        return Desired(candidate=leaving, share=0, shadow=0, everyone=False, promote=False)
    in_shadow = state.phase is Phase.SHADOW
    return Desired(
        candidate=True,
        share=0 if in_shadow else buckets(spec.schedule.stages[state.stage].share),
        shadow=min(buckets(spec.schedule.shadow_share), BUCKETS) if in_shadow else 0,
        everyone=state.phase is Phase.PROMOTING,
        promote=state.promotion_begun and state.resting is None,
    )


def buckets(percent: float) -> int:
    """A share in buckets: at least one, for a share above 0."""
    return max(round(percent * BUCKETS / 100), 1) if percent > 0 else 0


def assignment(name: str, uid: str, spec: ExperimentSpec, state: State) -> Assignment | None:
    """The document that transformers should see; None where they should see none."""
    spec = state.started or spec
    want = desired(spec, state)
    if not want.traffic or not (state.bundle_id and state.contract_digest and state.predictor_host):
        return None
    arm = Arm(
        name=CANDIDATE,
        predictor_host=state.predictor_host,
        model=spec.target.model,
        bundle=spec.candidate.bundle,
        bundle_id=state.bundle_id,
        contract_digest=state.contract_digest,
    )
    return Assignment(
        experiment=name,
        uid=uid,
        revision=state.revision,
        model=spec.target.model,
        salt=state.salt,
        arms=(arm,),
        share=want.share,
        shadow=want.shadow,
        everyone=CANDIDATE if want.everyone else None,
    )
