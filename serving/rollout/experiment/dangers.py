"""Why users must leave the candidate now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.lapses import over
from serving.rollout.experiment.sentences import interval, span
from serving.rollout.experiment.state import Outcome, Phase
from serving.rollout.experiment.turn import Turn


@dataclass(frozen=True, slots=True)
class Danger:
    """The end that it leads to, and why."""

    end: Phase
    reason: str
    message: str


def danger(turn: Turn) -> Danger | None:
    """The first that is there: what makes all numbers void comes before what the numbers say."""
    return next((found for check in _CHECKS if (found := check(turn)) is not None), None)


def _aborted(turn: Turn) -> Danger | None:
    if not turn.spec.aborted:
        return None
    return Danger(Phase.ABORTED, "Aborted", "spec.aborted is set: all users get stable again. Nothing was decided.")


def _refused(turn: Turn) -> Danger | None:
    refusal = turn.seen.refusal or turn.state.refusal
    if not refusal:
        return None
    return Danger(Phase.ROLLED_BACK, "Refused", f"The cluster refuses what the experiment needs: {refusal}")


def _stable_changed(turn: Turn) -> Danger | None:
    then, now = turn.state.stable_identity, turn.seen.stable
    if then is None or now is None or then == now:
        return None
    return Danger(
        Phase.ABORTED,
        "StableChanged",
        f"Stable was changed from {then} to {now} while the experiment ran, so users before and after are not "
        "compared with the same thing. Start a new experiment against the new stable.",
    )


def _guardrail(turn: Turn) -> Danger | None:
    breached = [reading for reading in turn.seen.readings if reading.breached]
    if not breached:
        return None
    told = "; ".join(
        f"{each.name} is {each.value:.4g}, above its limit {each.limit:.4g}" + (f" ({each.detail})" * bool(each.detail))
        for each in breached
    )
    return Danger(Phase.ROLLED_BACK, "GuardrailBreached", f"The candidate passed a limit: {told}.")


def _sample_ratio(turn: Turn) -> Danger | None:
    p, alpha = turn.state.ratio_least_p, turn.spec.analysis.ratio_alpha
    if p > alpha:
        return None
    stable, candidate = turn.state.looks[-1].exposed
    return Danger(
        Phase.ROLLED_BACK,
        "SampleRatioMismatch",
        f"{stable:,} users were exposed on stable and {candidate:,} on the candidate, where equally many were "
        f"assigned (p {p:.2g}, limit {alpha:g}). Exposures are lost or doubled somewhere, so no metric of this "
        "experiment can be believed. Find the cause, then start again.",
    )


def _metric_guardrail(turn: Turn) -> Danger | None:
    look = turn.seen.look
    if look is None or not look.breached:
        return None
    told = "; ".join(interval(each) for each in look.guardrails if each.metric in look.breached)
    margins = {each.metric.name: each.margin for each in turn.spec.metric_guardrails}
    limits = ", ".join(f"{name} {100 * margins[name]:g} %" for name in look.breached)
    return Danger(
        Phase.ROLLED_BACK,
        "MetricGuardrailBreached",
        f"The candidate loses more than is accepted ({limits}): {told}.",
    )


def _harm(turn: Turn) -> Danger | None:
    look = turn.seen.look
    if turn.state.phase is not Phase.RUNNING or look is None or look.outcome is not Outcome.HARM:
        return None
    return Danger(Phase.ROLLED_BACK, "Harm", f"The candidate is worse: {look.because}.")


def _lost(turn: Turn) -> Danger | None:
    limit = turn.spec.analysis.no_data_limit
    lapse = turn.state.lost
    if lapse is None or not over(lapse, length(limit)):
        return None
    said = turn.seen.candidate.message
    return Danger(
        Phase.ROLLED_BACK,
        "CandidateLost",
        f"The candidate has not been ready for {span(lapse.seconds)} (limit {limit}); stable answered its users. "
        f"{said or 'Look at its pods.'}",
    )


def _no_data(turn: Turn) -> Danger | None:
    limit = turn.spec.analysis.no_data_limit
    lapse = turn.state.blind
    if lapse is None or not over(lapse, length(limit)):
        return None
    return Danger(
        Phase.ROLLED_BACK,
        "NoData",
        f"There has been no data for {span(lapse.seconds)} (limit {limit}), and no data is no pass: "
        f"{blindness(turn)}. Nothing was decided about the candidate.",
    )


def blindness(turn: Turn) -> str:
    """What could not be read in this step; empty if everything was."""
    seen, guardrails = turn.seen, turn.spec.guardrails
    parts = [seen.blind] if seen.blind else []
    parts += [
        f"guardrail {each.name}: {each.detail or 'no data'}"
        for each in seen.readings
        if each.value is None or each.value != each.value
    ]
    if not seen.blind and len(seen.readings) < len(guardrails):
        parts.append(f"{len(seen.readings)} of {len(guardrails)} guardrails were read")
    look = seen.look or (turn.state.looks[-1] if turn.state.looks else None)
    if not seen.blind and look is not None and min(look.exposed) == 0:
        parts.append(f"{look.exposed[0]:,} exposures on stable and {look.exposed[1]:,} on the candidate were recorded")
    return "; ".join(parts)


_CHECKS: tuple[Callable[[Turn], Danger | None], ...] = (
    _aborted,
    _refused,
    _stable_changed,
    _guardrail,
    _sample_ratio,
    _metric_guardrail,
    _harm,
    _lost,
    _no_data,
)
