"""The verdict in a sentence, and why."""

from __future__ import annotations

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.spec import ExperimentSpec, Margin, Method
from serving.rollout.experiment.state import Estimate, Look, Outcome, Phase, State
from serving.rollout.report import words
from serving.rollout.report.document import End, Verdict

_WON = frozenset({Phase.WAITING, Phase.PROMOTING, Phase.PROMOTED, Phase.WON})
_EXCEPTIONS = {
    Phase.INCONCLUSIVE: End.INCONCLUSIVE,
    Phase.REJECTED: End.REJECTED,
    Phase.ABORTED: End.ABORTED,
}
_REASONS = {
    "Harm": End.HARM,
    "GuardrailBreached": End.GUARDRAIL,
    "MetricGuardrailBreached": End.GUARDRAIL,
    "SampleRatioMismatch": End.RATIO,
    "NoData": End.NO_DATA,
    "CandidateLost": End.FAILED,
    "Refused": End.FAILED,
}
"""What the controller gives as reason of a rollback (`experiment/dangers.py`)."""
_DIMMED = frozenset({End.WIN, End.HARM, End.INCONCLUSIVE, End.WAITING})
_AFTER_WIN = {
    Phase.WAITING: "It waits for approval: sightline experiment approve NAME.",
    Phase.PROMOTING: "The candidate is replacing what served before.",
    Phase.PROMOTED: "The candidate has replaced what served before.",
    Phase.WON: "Users are back on stable; promotion is left to people.",
}
_BACK = "Users are back on stable."
_BEFORE = {
    Phase.PENDING: "No verdict yet: the experiment has not begun.",
    Phase.PREPARING: "No verdict yet: the candidate is being prepared, and no user has met it.",
    Phase.SHADOW: "No verdict yet: the candidate scores in the shadow, and no user sees it.",
}


def verdict(spec: ExperimentSpec, state: State | None, given_reason: str = "") -> Verdict:
    """What is said first. `state` None: no controller has seen the experiment."""
    if state is None:
        said = "No verdict yet: no controller has seen the experiment; is one running for its namespace?"
        return Verdict(
            end=End.WAITING, phase=Phase.PENDING, outcome=Outcome.PENDING, ended=False, headline=said, because=()
        )
    end = end_of(spec, state)
    headline, because = _said(end, spec, state, given_reason)
    doubts = doubted(spec, state)
    if doubts and end in _DIMMED:
        headline = headline.replace(":", ", in doubt:", 1)
    if doubts and end is not End.RATIO:
        because = (f"The sample is not to be believed: {'; '.join(doubts)}".rstrip("?.") + ".", *because)
    because = (*because, *_unlike(state, doubts))
    return Verdict(
        end=end,
        phase=state.phase,
        outcome=state.outcome,
        ended=state.phase.ended,
        headline=headline,
        because=tuple(part for part in because if part),
    )


def _unlike(state: State, doubts: tuple[str, ...]) -> tuple[str, ...]:
    """Of senders that are unlike all others, those that no doubt names already."""
    found = state.looks[-1].unlike if state.looks else ()
    told = [each for each in found if not any(each in doubt for doubt in doubts)]
    return tuple(f"{each[0].upper()}{each[1:]}." for each in told)


def doubted(spec: ExperimentSpec, state: State | None) -> tuple[str, ...]:
    """Why the sample is not to be believed, by the newest look; wrong sizes are a doubt of old states, too."""
    if state is None or not state.looks:
        return ()
    found = state.looks[-1].doubts
    if not found and state.ratio_least_p <= spec.analysis.ratio_alpha:
        return (f"the arms' sizes do not fit equal shares (p {words.chance(state.ratio_least_p)})",)
    return found


def end_of(spec: ExperimentSpec, state: State) -> End:
    """What the experiment came to: by the reason that was logged for it, or by the facts that its state holds."""
    towards = state.end or state.phase
    if towards in _WON:
        return End.WIN
    if towards in _EXCEPTIONS:
        return _EXCEPTIONS[towards]
    if towards is not Phase.ROLLED_BACK:
        return End.WAITING
    logged = next((_REASONS[each.reason] for each in reversed(state.log) if each.reason in _REASONS), None)
    if logged is not None:
        return logged
    if state.ratio_least_p <= spec.analysis.ratio_alpha:
        return End.RATIO
    if state.outcome is Outcome.HARM:
        return End.HARM
    if any(each.breached for each in state.readings) or lost(spec, state):
        return End.GUARDRAIL
    return End.NO_DATA if state.blind is not None else End.FAILED


def deciding(state: State) -> Look | None:
    """The look that the verdict rests on: the last one that decided, else the newest."""
    decided = (each for each in reversed(state.looks) if each.outcome in (Outcome.WIN, Outcome.HARM))
    newest = state.looks[-1] if state.looks else None
    return next(decided, newest) if state.outcome in (Outcome.WIN, Outcome.HARM) else newest


def lost(spec: ExperimentSpec, state: State) -> list[tuple[Margin, Estimate]]:
    """The metrics of guardrails that are worse by more than their margin, as the newest look shows."""
    if not state.looks:
        return []
    look = state.looks[-1]
    seen = {each.metric: each for each in look.guardrails}
    return [
        (margin, seen[margin.metric.name])
        for margin in spec.metric_guardrails
        if margin.metric.name in look.breached and margin.metric.name in seen
    ]


def _said(end: End, spec: ExperimentSpec, state: State, given: str) -> tuple[str, tuple[str, ...]]:
    look = deciding(state)
    match end:
        case End.WAITING:
            return _waiting(spec, state, look)
        case End.WIN:
            return _win(spec, state, look)
        case End.ABORTED:
            return _aborted(state, given), (_seen(look), f"{_BACK} There is no verdict.")
        case End.REJECTED:
            return f"Rejected: {(state.message or 'the candidate could not serve').removesuffix('.')}.", (
                "No user has met the candidate.",
            )
        case _:
            return _back(end, spec, state, look)


def _back(end: End, spec: ExperimentSpec, state: State, look: Look | None) -> tuple[str, tuple[str, ...]]:
    """Ends that took the candidate away from its users."""
    match end:
        case End.HARM:
            return _harm(look), (_sure(spec), _BACK)
        case End.INCONCLUSIVE:
            return _inconclusive(spec, look), (_seen(look), _BACK)
        case End.GUARDRAIL:
            return f"Rolled back: {_breach(spec, state).removesuffix('.')}.", (_spent(look), _BACK)
        case End.RATIO:
            return _ratio(state, look), (f"{_BACK} Repair who logs or assigns before trying again.",)
        case End.NO_DATA:
            limit = words.time(length(spec.analysis.no_data_limit))
            said = f"Rolled back: guardrails were without data for {limit}, and no data is never a pass."
            return said, (state.message, _BACK)
        case _:
            return f"Rolled back: {(state.message or state.reason).removesuffix('.')}.", (_BACK,)


def _win(spec: ExperimentSpec, state: State, look: Look | None) -> tuple[str, tuple[str, ...]]:
    after = _AFTER_WIN.get(state.end or state.phase, "")
    if look is None:
        return f"Win. {after}", (state.message,)
    said = f"Win: {_compared(look.primary)}; the whole interval {_range(look.primary)} is on the good side of zero."
    return said, (_sure(spec), after, state.message if state.phase is Phase.WON else "")


def _aborted(state: State, given: str) -> str:
    if any(each.reason == "StableChanged" for each in state.log):
        return f"Aborted: {state.message.removesuffix('.')}."
    return f"Aborted by a person: {given.removesuffix('.')}." if given else "Aborted by a person, who gave no reason."


def _harm(look: Look | None) -> str:
    if look is None:
        return "Harm: the candidate is worse, and was taken away."
    said = f"Harm: {_compared(look.primary)}, which is worse"
    return f"{said}; the whole interval {_range(look.primary)} is on the bad side of zero."


def _inconclusive(spec: ExperimentSpec, look: Look | None) -> str:
    longest = words.time(length(spec.analysis.maximum_time))
    if look is None:
        return f"Inconclusive: {longest} went by without enough users for a single look."
    name = spec.primary_metric.name
    low, high = look.primary.low, look.primary.high
    excluded = [f"above {words.percent(high)}"] if high is not None else []
    excluded += [f"below {words.percent(low)}"] if low is not None else []
    rest = f"; effects {' and '.join(excluded)} are excluded" if excluded else ""
    return f"Inconclusive: the lift of {name} lies in {_range(look.primary)}, which includes zero{rest}."


def _ratio(state: State, look: Look | None) -> str:
    sizes = f" ({look.exposed[0]:,} and {look.exposed[1]:,} users)" if look else ""
    p = words.chance(state.ratio_least_p)
    return (
        f"Rolled back: the arms' sizes{sizes} do not fit their equal shares (p {p}), "
        "so users were lost or doubled and no lift of this experiment can be believed."
    )


def _breach(spec: ExperimentSpec, state: State) -> str:
    kinds = {each.name: each for each in spec.guardrails}
    found = []
    for each in state.readings:
        if each.breached and each.name in kinds:
            rule = kinds[each.name]
            value = words.reading(rule.kind, each.value, relative=rule.relative)
            limit = words.reading(rule.kind, each.limit, relative=rule.relative)
            found.append(f"guardrail {each.name} read {value}, and at most {limit} is accepted")
    for margin, estimate in lost(spec, state):
        accepted = words.percent(margin.margin, sign=False)
        found.append(f"guardrail metric {margin.metric.name} lies in {_range(estimate)}, worse than {accepted}")
    return "; ".join(found) or state.message


def _waiting(spec: ExperimentSpec, state: State, look: Look | None) -> tuple[str, tuple[str, ...]]:
    if state.phase in _BEFORE:
        return _BEFORE[state.phase], (state.message,)
    if look is None:
        least = f"{spec.analysis.minimum_users:,}"
        return f"No verdict yet: the first look needs {least} users in each arm with a closed window.", (state.message,)
    share = words.number(spec.schedule.stages[state.stage].share)
    said = (
        f"No verdict yet: at {share} % of users, the lift of {spec.primary_metric.name} lies in {_range(look.primary)}."
    )
    return said, (_seen(look), state.message)


def _compared(primary: Estimate) -> str:
    """click rate is 1.83 % higher with the candidate."""
    if primary.relative is None or primary.low is None:
        with_it, without = words.number(primary.candidate), words.number(primary.stable)
        return f"{primary.metric} is {with_it} with the candidate and {without} without"
    much = words.percent(abs(primary.relative), sign=False)
    return f"{primary.metric} is {much} {'higher' if primary.relative >= 0 else 'lower'} with the candidate"


def _range(estimate: Estimate) -> str:
    return words.ends(estimate)


def _sure(spec: ExperimentSpec) -> str:
    chance = words.percent(spec.analysis.alpha, sign=False)
    when = {
        Method.ALWAYS_VALID: "however often it was looked at",
        Method.GROUP_SEQUENTIAL: "over all planned looks",
        Method.FIXED: "at the one planned look",
    }[spec.analysis.method]
    return f"Were there no effect, the interval would exclude zero in at most {chance} of such experiments, {when}."


def _seen(look: Look | None) -> str:
    if look is None:
        return "There was no look at the metrics."
    return f"Seen: {look.users[0]:,} users on stable and {look.users[1]:,} with the candidate."


def _spent(look: Look | None) -> str:
    if look is None:
        return "The metrics had not been looked at yet: the guardrail alone ended it."
    return f"The primary metric did not decide it: its lift lay in {_range(look.primary)}."
