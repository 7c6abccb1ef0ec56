"""How it was computed, for somebody who knows A/B tests and not this project."""

from __future__ import annotations

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.spec import ExperimentSpec, Method
from serving.rollout.report import words
from serving.rollout.report.document import Word
from serving.rollout.statistics.sequence import tuning

_COMPARED = (
    "Users, not requests. A salted hash of the user's id gives the arm, and nobody ever changes arms. The candidate "
    "and the users of stable that it is compared with grow together and equally, over the same days; all other users "
    "get stable and are no part of the comparison."
)
_GUARDED = (
    "One-sided and always-valid: a guardrail ends the experiment when the metric is shown to be worse by more than its "
    "margin."
)


def how(spec: ExperimentSpec) -> tuple[Word, ...]:
    """Term and words, in the order in which a reader asks."""
    said = {
        "Who is compared": _COMPARED,
        "Which users count": _window(spec),
        "Metric": _metric(spec),
        "Interval": _interval(spec),
        "Verdict": _rule(spec),
        "Arms' sizes": _sizes(spec),
        "Arms before the start": _before(spec),
        "Secondary metrics": _secondary(spec),
        "Guardrail metrics": _GUARDED if spec.metric_guardrails else "",
        "Operational guardrails": _operational(spec),
    }
    return tuple(Word(term=term, words=text) for term, text in said.items() if text)


def _window(spec: ExperimentSpec) -> str:
    return (
        "A user belongs to the arm and time of the first exposure; what the user does within "
        f"{words.time(spec.window)} from then on counts. Only users whose time is over are in the sums: their numbers "
        "are final, and a look only ever adds users. Users seen in both arms are left out."
    )


def _metric(spec: ExperimentSpec) -> str:
    metric = spec.primary_metric
    better = "Higher" if metric.direction == "increase" else "Lower"
    parts = [
        f"{metric.name}: {words.metric(metric)}. {better} is better. The lift is candidate over stable, minus 1, and "
        "its interval Fieller's, which is made for such a quotient."
    ]
    if metric.denominator is not None:
        parts.append("The metric's variance over users comes from the delta method.")
    if metric.cuped:
        before = words.time(length(spec.analysis.before))
        parts.append(
            f"CUPED takes out what the same metric in the {before} before the first exposure predicts: it narrows the "
            "interval and does not move the truth."
        )
    if metric.capped:
        ends = [("at most", metric.cap_quantile), ("at least", metric.cap_lower_quantile)]
        told = " and ".join(f"{word} the {quantile:g} quantile" for word, quantile in ends if quantile is not None)
        whom = "those that are not 0" if metric.cap_nonzero else "all users"
        parts.append(
            f"A user's numbers count {told} of {whom} in the time before the experiment, over windows of the same "
            "length; the event CapsRead has the numbers."
        )
    return " ".join(parts)


def _interval(spec: ExperimentSpec) -> str:
    analysis = spec.analysis
    level = words.percent(1 - analysis.alpha, sign=False)
    planned = f"{analysis.planned_users:,} users of both arms"
    if analysis.method is Method.ALWAYS_VALID:
        rho = tuning(analysis.planned_users, analysis.alpha)
        return (
            f"A {level} confidence sequence (Waudby-Smith and others, arXiv 2103.06476): it may be looked at any time, "
            f"and the chance that it ever excludes the truth is at most alpha = {analysis.alpha:g}. Before the start "
            f"it was tuned to be narrowest at {planned} (rho = {rho:.4g}). It is wider than one that may be read "
            "only once: that is the price of reading it at any time."
        )
    if analysis.method is Method.GROUP_SEQUENTIAL:
        return (
            f"{analysis.looks} looks were planned on the way to {planned}. Alpha = {analysis.alpha:g} is spent over "
            f"them ({analysis.spending}), so that all of them together err at most that often."
        )
    return (
        f"One look at {planned}, with a {level} interval. What was seen earlier could not end the experiment as a win."
    )


def _rule(spec: ExperimentSpec) -> str:
    analysis = spec.analysis
    least, most = words.time(length(analysis.minimum_time)), words.time(length(analysis.maximum_time))
    return (
        f"Win: the whole interval is on the good side of zero, not before {least} have passed, so that every day of "
        "the week is in it. Harm: all of it is on the bad side, at once. Inconclusive: neither after "
        f"{most}. The first look needs {analysis.minimum_users:,} users in each arm."
    )


def _sizes(spec: ExperimentSpec) -> str:
    return (
        "Both arms must have equally many exposed users. An anytime-valid multinomial test (Lindon and Malek, 2022) "
        f"watches it: below p = {spec.analysis.ratio_alpha:g} the experiment ends, as users were lost or doubled and "
        "no lift can be believed."
    )


def _before(spec: ExperimentSpec) -> str:
    compared = [metric.name for metric in spec.metrics() if metric.cuped]
    if not compared:
        return (
            "Not tested: no metric has cuped, so nothing is asked about the time before the first exposure. A "
            "difference that the arms' users had already (an earlier test that goes on in them, users not assigned by "
            "chance) would be taken for the candidate's."
        )
    before = words.time(length(spec.analysis.before))
    return (
        f"What the arms' users did in the {before} before their first exposure is compared, by "
        f"{', '.join(compared)}: a difference there is a doubt, and no win comes from a doubtful sample."
    )


def _secondary(spec: ExperimentSpec) -> str:
    if not spec.secondary_metrics:
        return ""
    return (
        f"Alpha is divided by their number ({len(spec.secondary_metrics)}, Bonferroni), so that their intervals hold "
        "together. They are shown and never decide."
    )


def _operational(spec: ExperimentSpec) -> str:
    if not spec.guardrails:
        return ""
    limit = words.time(length(spec.analysis.no_data_limit))
    return (
        "Prometheus, asked all the time. They are limits, not tests: counters carry no variance over users. One "
        f"without data stops every growth, and after {limit} sends users back to stable."
    )
