"""What a step adds to what is remembered, whatever follows from it."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.experiments.assignment import STABLE
from serving.rollout.experiment.dangers import blindness, scarcity
from serving.rollout.experiment.durations import length
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.lapses import credit, lasting, over
from serving.rollout.experiment.sentences import span
from serving.rollout.experiment.state import KeptReading, Lapse, Look, Outcome, Phase, State
from serving.rollout.experiment.turn import Turn

LOOKS, LOOKS_WHOLE = 200, 20
"""Looks that are kept, and those among them, the newest, that keep more than the primary metric."""

_DETAILS: dict[str, object] = {
    "secondary": (),
    "guardrails": (),
    "triggered": None,
    "quality": {},
    "without_cuped": None,
    "sums": {},
    "deviations": {},
    "doubts": (),
    "missing": {},
    "senders": (),
    "unlike": (),
}
"""Of a look, what older ones go without."""

_TELL_AFTER = 10
"""Missing data is told after this part of its limit: the first minute of a stage has none yet."""

_EXPOSING = frozenset({Phase.SHADOW, Phase.RUNNING, Phase.WAITING, Phase.PROMOTING})
_COMPARING = frozenset({Phase.RUNNING, Phase.WAITING})


def observed(turn: Turn, refused: str) -> Turn:
    """The state with what was seen in it, and events for what began or ceased."""
    seconds = credit(turn.spec, turn.state, turn.now)
    turn = _looked(_revision(turn.put(stepped_at=turn.now, started=_started(turn))))
    turn = _read(_host(turn), seconds)
    turn = _lost(turn, seconds)
    turn = _few(_blind(turn, seconds), seconds)
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
    # What was found while something held it up stays, but for a win of a sample that is doubted by now.
    won = state.outcome is Outcome.WIN and not (look.doubts and state.phase is Phase.RUNNING)
    decided = won or state.outcome is Outcome.INCONCLUSIVE
    turn = turn.put(
        looks=thinned((*before, look)),
        looked_at=turn.now,
        stage_looked=True,
        ratio_least_p=min(state.ratio_least_p, look.ratio_p),
        before_least_p=min(state.before_least_p, look.before_p),
        spent_shares=spent,
        outcome=state.outcome if decided else look.outcome,
    )
    return _doubted(turn, look, before=state.looks[-1] if state.looks else None)


def _doubted(turn: Turn, look: Look, before: Look | None) -> Turn:
    """Doubts are told once, when they come and when they are gone, and so is every event that goes astray."""
    known = before.missing if before is not None else {}
    for event, sentence in look.missing.items():
        if event not in known:
            turn = turn.say("EventMissing", f"{sentence[0].upper()}{sentence[1:]}", warning=True)
    others = [each for each in look.doubts if each not in look.missing.values()]
    was = before is not None and bool(before.doubts)
    if others and not (before is not None and set(before.doubts) - set(before.missing.values())):
        told = f"The sample is in doubt: {'; '.join(others)}. No stage and no win come from it; harm still acts."
        return turn.say("SampleDoubted", told, warning=True)
    if was and not look.doubts:
        return turn.say("SampleTrusted", "There is no doubt about the sample any more: stages and verdict go on.")
    return turn


def thinned(looks: tuple[Look, ...]) -> tuple[Look, ...]:
    """At most `LOOKS`: every second of the older half goes; details stay with the newest."""
    if len(looks) > LOOKS:
        half = LOOKS // 2
        looks = (*looks[:-half:2], *looks[-half:])
    return (*(_plain(look) for look in looks[:-LOOKS_WHOLE]), *looks[-LOOKS_WHOLE:])


def _plain(look: Look) -> Look:
    return look.model_copy(update=_DETAILS)


def _read(turn: Turn, seconds: float) -> Turn:
    if not turn.seen.readings:
        return turn
    before = {each.name: each for each in turn.state.readings}
    windows = {each.name: length(each.window) for each in turn.spec.guardrails}
    kept = []
    for each in turn.seen.readings:
        above = _above(each, before.get(each.name), turn.now, seconds)
        in_a_row = not each.counted and each.name in windows and over(above, windows[each.name])
        kept.append(
            KeptReading(
                name=each.name,
                at=turn.now,
                value=each.value if each.value is not None and abs(each.value) < float("inf") else None,
                limit=each.limit,
                breached=each.breached or in_a_row,
                few=each.few,
                above=above,
                detail=each.detail,
            )
        )
    return turn.put(readings=tuple(kept))


def _above(each: Reading, before: KeptReading | None, now: datetime, seconds: float) -> Lapse | None:
    """How long the value has been above its limit, reading after reading; a missing one neither adds nor ends it."""
    lapse = None if before is None else before.above
    if each.missing or each.few:
        return lapse
    return lasting(lapse, now, seconds) if each.above else None


def _lost(turn: Turn, seconds: float) -> Turn:
    before = turn.state.lost
    if turn.state.promotion_begun:
        return turn.put(lost=None)  # its objects are becoming stable's
    if turn.state.phase not in _EXPOSING or turn.ready:
        turn = turn.put(lost=None)
        if before is None or turn.state.phase not in _EXPOSING:
            return turn
        whole = before.model_copy(update={"seconds": before.seconds + seconds})
        turn = turn.put(losses=(*_of_a_day(turn), whole))
        return turn.say("CandidateBack", f"The candidate is ready again, after {span(whole.seconds)}.")
    turn = turn.put(lost=lasting(before, turn.now, seconds), losses=_of_a_day(turn))
    if before is not None:
        return turn
    said = turn.seen.candidate.message or turn.seen.candidate.readiness
    return turn.say(
        "CandidateNotReady",
        f"The candidate is not ready ({said}): {STABLE} answers its users meanwhile. If it is not back in "
        f"{turn.spec.analysis.no_data_limit} the experiment is rolled back.",
        warning=True,
    )


def _of_a_day(turn: Turn) -> tuple[Lapse, ...]:
    return tuple(each for each in turn.state.losses if turn.now - each.since < timedelta(days=1))


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


def _few(turn: Turn, seconds: float) -> Turn:
    """Too little traffic holds stages and wins, for as long as it lasts."""
    before, patience = turn.state.few, length(turn.spec.analysis.no_data_limit)
    why = scarcity(turn) if turn.state.phase in _COMPARING else ""
    told = over(before, patience)
    if not why:
        turn = turn.put(few=None)
        if before is None or not told or turn.state.phase not in _COMPARING:
            return turn
        return turn.say("EnoughAgain", f"There is enough traffic to judge by, after {span(before.seconds + seconds)}.")
    lapse = lasting(before, turn.now, seconds)
    turn = turn.put(few=lapse)
    if told or not over(lapse, patience):
        return turn
    return turn.say(
        "TooFew",
        f"There is too little traffic to judge by: {why}. Shares stay as they are, and no stage and no win comes until "
        "there is more; what goes wrong still takes users back. See sightline experiment plan --rankings-per-day.",
    )


def _watched(turn: Turn, seconds: float) -> Turn:
    """Time counts only when what users got was in place and could be seen, and nobody had paused it.

    A stage's hold moreover wants guardrails that were read of enough rankings.
    """
    state = turn.state
    if turn.spec.paused:
        return turn
    if state.phase is Phase.SHADOW and turn.ready and turn.in_place:
        return turn.put(stage_watched=state.stage_watched + seconds)
    if state.phase in _COMPARING and turn.clear:
        held = 0.0 if state.few is not None else seconds
        return turn.put(watched=state.watched + seconds, stage_watched=state.stage_watched + held)
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
        "No time counts until it is resumed. Clear spec.paused to go on.",
    )
