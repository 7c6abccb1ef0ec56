"""With users: shadow, stages, the verdict, and what a win leads to."""

from __future__ import annotations

from serving.rollout.experiment.dangers import danger
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.preparing import first_stage
from serving.rollout.experiment.sentences import excluded, interval, share, span
from serving.rollout.experiment.spec import Promotion
from serving.rollout.experiment.state import Outcome, Phase
from serving.rollout.experiment.turn import Turn


def shadow(turn: Turn) -> Turn:
    """The candidate scores unseen; there are no users of its own, so guardrails may be empty."""
    if (back := stopped(turn)) is not None:
        return back
    left = length(turn.spec.schedule.shadow_hold).total_seconds() - turn.state.stage_watched
    if left <= 0 and turn.ready and turn.in_place and not turn.spec.paused:
        return first_stage(turn)
    paused = " Paused." if turn.spec.paused else ""
    return turn.put(message=f"Shadow: users see stable only. First users in {span(max(left, 0.0))}.{paused}")


def running(turn: Turn) -> Turn:
    """Users meet the candidate in stages; the last one lasts until the verdict."""
    if (back := stopped(turn)) is not None:
        return back
    if turn.spec.paused:
        return turn.put(message=f"Paused. {_standing(turn)}")
    if turn.state.outcome is Outcome.WIN and turn.passes:
        return _won(turn)
    if turn.state.outcome is Outcome.INCONCLUSIVE:
        return _undecided(turn)
    return _next_stage(turn) if _may_advance(turn) else turn.put(message=_standing(turn))


def waiting(turn: Turn) -> Turn:
    """It has won; shares stay, and so do guardrails, until somebody approves."""
    if (back := stopped(turn)) is not None:
        return back
    policy = turn.spec.promotion
    if policy is Promotion.REPORT:
        return _reported(turn)
    agreed = policy is Promotion.AUTOMATIC or turn.spec.approved
    if agreed and not turn.spec.paused and turn.passes:
        return _promoting(turn, "promotion is automatic" if policy is Promotion.AUTOMATIC else "spec.approved is set")
    missing = "Set spec.approved to promote" if not agreed else _held(turn)
    return turn.put(message=f"The candidate has won and waits. {missing}; spec.aborted gives users stable again.")


def stopped(turn: Turn) -> Turn | None:
    """On the way back to stable, if there is a danger."""
    found = danger(turn)
    return None if found is None else turn.stop(found.end, found.reason, found.message)


def _may_advance(turn: Turn) -> bool:
    """Time was watched, guardrails are fine, and users of both arms were seen in this stage."""
    state, stages = turn.state, turn.spec.schedule.stages
    if state.stage + 1 >= len(stages) or not turn.passes or not state.stage_looked or not state.looks:
        return False
    exposed = state.looks[-1].exposed
    more = all(now > before for now, before in zip(exposed, state.stage_exposed, strict=True))
    return more and state.stage_watched >= length(stages[state.stage].hold).total_seconds()


def _next_stage(turn: Turn) -> Turn:
    stages, stage = turn.spec.schedule.stages, turn.state.stage + 1
    after = f"Next after {stages[stage].hold}." if stage + 1 < len(stages) else "It lasts until the verdict."
    fields = {
        "stage": stage,
        "stage_since": turn.now,
        "stage_watched": 0.0,
        "stage_looked": False,
        "stage_exposed": turn.state.looks[-1].exposed,
    }
    return turn.put(**fields).say(
        "StageBegan",
        f"Stage {stage + 1} of {len(stages)}: {share(stages[stage].share)} of users get the candidate, as many are "
        f"compared on stable. Guardrails were read and are fine, the arms' sizes agree. {after}",
    )


def _standing(turn: Turn) -> str:
    """Where a running experiment stands, and what would change it."""
    state, stages = turn.state, turn.spec.schedule.stages
    left = length(stages[state.stage].hold).total_seconds() - state.stage_watched
    if state.stage + 1 == len(stages):
        after = "It lasts until the verdict."
    elif left > 0:
        after = f"{share(stages[state.stage + 1].share)} in {span(left)}."
    else:
        after = f"{share(stages[state.stage + 1].share)} once guardrails are fine and users of both arms were seen."
    where = f"Stage {state.stage + 1} of {len(stages)}, {share(stages[state.stage].share)} of users. {after}"
    if not state.looks:
        return f"{where} No look at the metrics yet."
    look = state.looks[-1]
    doubted = f" {_doubted(turn)}" if look.doubts else ""
    return f"{where} {look.outcome.capitalize()}: {look.because}.{doubted}"


def _held(turn: Turn) -> str:
    return "Promotion waits for guardrails, or for paused" if turn.sound else _doubted(turn).removesuffix(".")


def _doubted(turn: Turn) -> str:
    return f"No stage and no win while the sample is in doubt: {'; '.join(turn.state.looks[-1].doubts)}."


def _won(turn: Turn) -> Turn:
    promotion = turn.spec.promotion
    if promotion is Promotion.REPORT:
        return _reported(turn)
    if promotion is Promotion.AUTOMATIC:
        return _promoting(turn, f"it has won ({_verdict(turn)}) and promotion is automatic")
    return turn.enter(
        Phase.WAITING,
        "Won",
        f"The candidate has won: {_verdict(turn)}. Set spec.approved to promote it; shares stay until then.",
    )


def _reported(turn: Turn) -> Turn:
    hint = f" To promote: {turn.seen.hint}" if turn.seen.hint else ""
    return turn.stop(
        Phase.WON,
        "Won",
        f"The candidate has won: {_verdict(turn)}. promotion is `report`, so nothing was changed.{hint}",
        warning=False,
    )


def _promoting(turn: Turn, why: str) -> Turn:
    return turn.enter(Phase.PROMOTING, "Promoting", f"The candidate is given to all users: {why}.")


def _verdict(turn: Turn) -> str:
    won = next((look for look in reversed(turn.state.looks) if look.outcome is Outcome.WIN), turn.state.looks[-1])
    return f"{interval(won.primary)}, {sum(won.users):,} users"


def _undecided(turn: Turn) -> Turn:
    look = turn.state.looks[-1]
    return turn.stop(
        Phase.INCONCLUSIVE,
        "NoVerdict",
        f"The time or the planned users are over without a verdict: {look.because}. {excluded(look.primary)} "
        "A smaller effect needs more users: see sightline experiment plan --help.",
        warning=False,
    )
