"""Why users must leave the candidate now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.lapses import over
from serving.rollout.experiment.limits import SURELY_SOME
from serving.rollout.experiment.sentences import interval, span
from serving.rollout.experiment.state import Look, Outcome, Phase
from serving.rollout.experiment.turn import Turn

SILENCE = timedelta(days=1)
"""After so long without one exposure users go back: a night is shorter."""
MOST_LOSSES = 5
"""A candidate that is lost so often within a day is not given users any more."""


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
    if not turn.breaches:
        return None
    told = "; ".join(
        f"{each.name} is {each.value:.4g}, above its limit {each.limit:.4g}" + (f" ({each.detail})" * bool(each.detail))
        for each in turn.breaches
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
    """Not ready for too long within a day, in one time or in several; or too often, however short each time was."""
    limit, lost = turn.spec.analysis.no_data_limit, turn.state.lost
    if lost is None:
        return None
    times = (*turn.state.losses, lost)
    said = turn.seen.candidate.message or "Look at its pods."
    seconds = sum(each.seconds for each in times)
    if seconds >= length(limit).total_seconds():
        often = f", in {len(times)} times within a day" if len(times) > 1 else ""
        return Danger(
            Phase.ROLLED_BACK,
            "CandidateLost",
            f"The candidate has not been ready for {span(seconds)}{often} (limit {limit}); stable answered its users. "
            f"{said}",
        )
    if len(times) < MOST_LOSSES:
        return None
    return Danger(
        Phase.ROLLED_BACK,
        "CandidateUnstable",
        f"The candidate was lost {len(times)} times within a day, for {span(seconds)} altogether; stable answered its "
        f"users. {said}",
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


def _nobody(turn: Turn) -> Danger | None:
    """Quiet hours hold a stage; a whole day without a single exposure is no traffic, or a log that nobody keeps."""
    look = _newest(turn)
    if look is None or max(look.exposed) > 0 or not over(turn.state.few, SILENCE):
        return None
    return Danger(
        Phase.ROLLED_BACK,
        "NoData",
        f"Not one user was recorded in either arm for a day, and no data is no pass: {_recorded(look)}. See whether "
        "transformers send exposures to the collector, and whether anybody comes.",
    )


def blindness(turn: Turn) -> str:
    """What could not be read in this step although it should; empty if everything was, or few came."""
    seen, guardrails = turn.seen, turn.spec.guardrails
    parts = [seen.blind] if seen.blind else []
    parts += [f"guardrail {each.name}: {each.detail or 'no data'}" for each in seen.readings if each.missing]
    if not seen.blind and len(seen.readings) < len(guardrails):
        parts.append(f"{len(seen.readings)} of {len(guardrails)} guardrails were read")
    look = _newest(turn)
    if not seen.blind and look is not None and min(look.exposed) == 0 and _somebody(turn, look):
        parts.append(_recorded(look))
    return "; ".join(parts)


def scarcity(turn: Turn) -> str:
    """What was read, and is too little to judge by; empty if there is enough."""
    parts = [f"guardrail {each.name}: {each.detail}" for each in turn.seen.readings if each.few]
    look = _newest(turn)
    if look is not None and min(look.exposed) == 0 and not _somebody(turn, look):
        parts.append(_recorded(look))
    return "; ".join(parts)


def _newest(turn: Turn) -> Look | None:
    return turn.seen.look or (turn.state.looks[-1] if turn.state.looks else None)


def _somebody(turn: Turn, look: Look) -> bool:
    """Whether users came for sure, by the other arm's exposures or by rankings that were counted."""
    return max(look.exposed, default=0) >= SURELY_SOME or any(
        each.rankings >= SURELY_SOME for each in turn.seen.readings
    )


def _recorded(look: Look) -> str:
    return f"{look.exposed[0]:,} exposures on stable and {look.exposed[1]:,} on the candidate were recorded"


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
    _nobody,
)
