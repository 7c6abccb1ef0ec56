"""What a step adds to what is remembered, whatever follows from it."""

from __future__ import annotations

from models.experiments.assignment import STABLE
from serving.rollout.experiment.dangers import blindness
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.lapses import credit, lasting, over
from serving.rollout.experiment.sentences import span
from serving.rollout.experiment.state import KeptReading, Look, Outcome, Phase, State
from serving.rollout.experiment.turn import Turn

LOOKS, LOOKS_WHOLE = 200, 20
"""Looks that are kept, and those among them, the newest, that keep more than the primary metric."""

_TELL_AFTER = 10
"""Missing data is told after this part of its limit: the first minute of a stage has none yet."""

_EXPOSING = frozenset({Phase.SHADOW, Phase.RUNNING, Phase.WAITING, Phase.PROMOTING})
_COMPARING = frozenset({Phase.RUNNING, Phase.WAITING})


def observed(turn: Turn, refused: str) -> Turn:
    """The state with what was seen in it, and events for what began or ceased."""
    seconds = credit(turn.spec, turn.state, turn.now)
    turn = _looked(_revision(turn.put(stepped_at=turn.now, started=_started(turn))))
    turn = _read(_host(turn))
    turn = _lost(turn, seconds)
    turn = _blind(turn, seconds)
    turn = _watched(turn, seconds)
    return _changed(turn, refused)


def _started(turn: Turn) -> object:
    return None if turn.state.started is None else turn.spec


def _revision(turn: Turn) -> Turn:
    """A published copy that is newer than this state (a state restored from a backup) would not be replaced by it."""
    published = turn.seen.published
    if published is None or published.revision <= turn.state.revision:
        return turn
    return turn.put(revision=published.revision + 1)


def _host(turn: Turn) -> Turn:
    host = turn.seen.candidate.predictor_host
    return turn.put(predictor_host=host) if turn.ready and host and turn.state.phase in _EXPOSING else turn


def _looked(turn: Turn) -> Turn:
    look, state = turn.seen.look, turn.state
    if look is None:
        return turn
    before = state.looks[:-1] if state.looks and min(state.looks[-1].exposed) == 0 else state.looks
    spent = state.spent_shares if look.information is None else (*state.spent_shares, look.information)
    decided = state.outcome in (Outcome.WIN, Outcome.INCONCLUSIVE)  # found while something held it up
    return turn.put(
        looks=thinned((*before, look)),
        looked_at=turn.now,
        stage_looked=True,
        ratio_least_p=min(state.ratio_least_p, look.ratio_p),
        spent_shares=spent,
        outcome=state.outcome if decided else look.outcome,
    )


def thinned(looks: tuple[Look, ...]) -> tuple[Look, ...]:
    """At most `LOOKS`: every second of the older half goes; details stay with the newest."""
    if len(looks) > LOOKS:
        half = LOOKS // 2
        looks = (*looks[:-half:2], *looks[-half:])
    return (*(_plain(look) for look in looks[:-LOOKS_WHOLE]), *looks[-LOOKS_WHOLE:])


def _plain(look: Look) -> Look:
    if not (look.secondary or look.guardrails or look.triggered or look.quality):
        return look
    return look.model_copy(update={"secondary": (), "guardrails": (), "triggered": None, "quality": {}})


def _read(turn: Turn) -> Turn:
    if not turn.seen.readings:
        return turn
    return turn.put(
        readings=tuple(
            KeptReading(
                name=each.name,
                at=turn.now,
                value=each.value if each.value is not None and abs(each.value) < float("inf") else None,
                limit=each.limit,
                breached=each.breached,
                detail=each.detail,
            )
            for each in turn.seen.readings
        )
    )


def _lost(turn: Turn, seconds: float) -> Turn:
    before = turn.state.lost
    if turn.state.promotion_begun:
        return turn.put(lost=None)  # its objects are becoming stable's
    if turn.state.phase not in _EXPOSING or turn.ready:
        turn = turn.put(lost=None)
        if before is None or turn.state.phase not in _EXPOSING:
            return turn
        return turn.say("CandidateBack", f"The candidate is ready again, after {span(before.seconds + seconds)}.")
    turn = turn.put(lost=lasting(before, turn.now, seconds))
    if before is not None:
        return turn
    said = turn.seen.candidate.message or turn.seen.candidate.readiness
    return turn.say(
        "CandidateNotReady",
        f"The candidate is not ready ({said}): {STABLE} answers its users meanwhile. If it is not back in "
        f"{turn.spec.analysis.no_data_limit} the experiment is rolled back.",
        warning=True,
    )


def _blind(turn: Turn, seconds: float) -> Turn:
    before, limit = turn.state.blind, turn.spec.analysis.no_data_limit
    why = blindness(turn) if turn.state.phase in _COMPARING else ""
    told = over(before, length(limit) / _TELL_AFTER)
    if not why:
        turn = turn.put(blind=None)
        if before is None or not told or turn.state.phase not in _COMPARING:
            return turn
        return turn.say(
            "DataBack", f"Guardrails and metrics can be read again, after {span(before.seconds + seconds)}."
        )
    lapse = lasting(before, turn.now, seconds)
    turn = turn.put(blind=lapse)
    if told or not over(lapse, length(limit) / _TELL_AFTER):
        return turn
    return turn.say(
        "DataMissing",
        f"Not everything can be read: {why}. No stage and no verdict comes from that; if it lasts {limit}, users go "
        "back to stable.",
        warning=True,
    )


def _watched(turn: Turn, seconds: float) -> Turn:
    """Time counts only when what users got was in place and could be seen."""
    state = turn.state
    if state.phase is Phase.SHADOW and turn.ready and turn.in_place:
        return turn.put(stage_watched=state.stage_watched + seconds)
    if state.phase in _COMPARING and turn.clear:
        return turn.put(watched=state.watched + seconds, stage_watched=state.stage_watched + seconds)
    return turn


def _changed(turn: Turn, refused: str) -> Turn:
    state: State = turn.state
    if refused != state.change_refused:
        turn = turn.put(change_refused=refused)
        turn = (
            turn.say("ChangeRefused", refused, warning=True)
            if refused
            else turn.say("ChangeUndone", "The spec is as it began again.")
        )
    if turn.spec.paused == state.paused:
        return turn
    turn = turn.put(paused=turn.spec.paused)
    if not turn.spec.paused:
        return turn.say("Resumed", "spec.paused is cleared: stages and verdict go on.")
    return turn.say(
        "Paused",
        "spec.paused is set: shares stay as they are, no stage and no win follow; guardrails and harm still act. "
        "Clear spec.paused to go on.",
    )
