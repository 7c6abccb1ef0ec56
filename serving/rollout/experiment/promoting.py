"""After a win that is promoted: all users on the candidate, which replaces stable."""

from __future__ import annotations

from datetime import timedelta

from serving.rollout.experiment.lapses import credit, lasting, over
from serving.rollout.experiment.running import stopped
from serving.rollout.experiment.sentences import span
from serving.rollout.experiment.state import Lapse, Phase
from serving.rollout.experiment.turn import Turn

MOST_REVERTS = 5
"""Who puts stable back so often means it."""
_FIRST_REST, _LONGEST_REST = timedelta(seconds=30), timedelta(minutes=10)


def promoting(turn: Turn) -> Turn:
    """All users get the candidate while it replaces stable. Once that has begun it goes on to its end."""
    if not turn.state.promotion_begun:
        if (back := stopped(turn)) is not None:
            return back
        if turn.ready and turn.in_place and turn.sound and not turn.spec.paused:
            return turn.put(promotion_begun=True).say(
                "PromotionBegan", f"All users get the candidate; {turn.spec.target.name} is being replaced by it."
            )
        return turn.put(message="All users are about to get the candidate; then stable is replaced.")
    return _replacing(turn)


def _replacing(turn: Turn) -> Turn:
    turn = _guarded(turn)
    state, target = turn.state, turn.spec.target.name
    if state.phase is not Phase.PROMOTING or state.resting is not None:
        return turn
    if state.promoted:
        return _promoted(turn)
    if not state.refusal:
        aborted = " spec.aborted is not followed: stable is half replaced." if turn.spec.aborted else ""
        turn = turn if state.reason != "PromotionRefused" else turn.say("PromotionGoesOn", "The promotion goes on.")
        return turn.put(message=f"All users get the candidate, and {target} is being replaced by it.{aborted}")
    if turn.spec.aborted:
        return turn.stop(
            Phase.ABORTED,
            "Aborted",
            f"The promotion was refused midway ({state.refusal}) and spec.aborted is set. Check which bundle {target} "
            "and its transformer have.",
        )
    if state.reason == "PromotionRefused":
        return turn
    return turn.say(
        "PromotionRefused",
        f"The promotion cannot go on: {state.refusal}. All users get the candidate meanwhile. Correct that and it "
        "goes on by itself, or set spec.aborted.",
        warning=True,
    )


def _promoted(turn: Turn) -> Turn:
    hint = f" To keep it: {turn.seen.hint}" if turn.seen.hint else ""
    return turn.stop(
        Phase.PROMOTED,
        "Promoted",
        f"{turn.spec.target.name} serves the candidate's bundle {turn.spec.candidate.bundle} now, to all users. Give "
        f"helm or Git the same values, or the next upgrade brings the old one back.{hint}",
        warning=False,
    )


def _guarded(turn: Turn) -> Turn:
    """Notice whoever puts stable back: it is replaced again after a rest, each time a longer one, and at last left."""
    state, found = turn.state, turn.seen.replaced
    if found is None:
        return turn
    if found >= state.replaced:
        return _rested(turn.put(replaced=found), found)
    reverts = state.reverts + 1
    turn = turn.put(replaced=found, reverts=reverts, resting=Lapse(since=turn.now), promoted=False)
    target, bundle = turn.spec.target.name, turn.spec.candidate.bundle
    if reverts >= MOST_REVERTS:
        return turn.stop(
            Phase.WON,
            "PromotionReverted",
            f"The candidate has won, and {target} was put back to another bundle {reverts} times while it was promoted "
            f"(by GitOps, helm or a person). It is left as it is now, and users get what {target} serves. Give Git or "
            f"helm the bundle {bundle}: that promotes it.",
        )
    return turn.say(
        "PromotionReverted",
        f"GitOps, helm or a person put {target} back to another bundle while it was promoted ({reverts} of at most "
        f"{MOST_REVERTS} times, then it is left as it is). It is replaced again in {span(_rest(reverts))}. Give Git or "
        f"helm the bundle {bundle}.",
        warning=True,
    )


def _rested(turn: Turn, found: int) -> Turn:
    """On again after the rest, once there is a candidate to go on with."""
    if turn.state.resting is None:
        return turn
    lapse = lasting(turn.state.resting, turn.now, credit(turn.spec, turn.before, turn.now))
    rested = over(lapse, timedelta(seconds=_rest(turn.state.reverts))) and (turn.ready or found > 0)
    return turn.put(resting=None if rested else lapse)


def _rest(reverts: int) -> float:
    """Seconds."""
    return float(min(_FIRST_REST * 2.0 ** (reverts - 1), _LONGEST_REST).total_seconds())
