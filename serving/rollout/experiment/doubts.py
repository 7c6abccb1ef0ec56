"""Why the sample may not be believed, whatever its metrics say: no stage and no win comes from it. Harm still acts.

A faulty sample can make a candidate look better or worse. To wait costs time when it looks better; when it looks worse
users go back, which is right for them whichever of the two is at fault.
"""

from __future__ import annotations

from math import inf

from models.experiments.assignment import STABLE
from serving.rollout.experiment.desired import CANDIDATE
from serving.rollout.experiment.estimates import covariate
from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.statistics.effect import EffectError, Metric, Ratio, effect
from serving.rollout.statistics.moments import MomentsError
from serving.rollout.statistics.sequence import tuning
from serving.rollout.statistics.several import average, e_value

SWITCHED_PART, SWITCHED_USERS = 0.01, 10
"""Users exposed in both arms: more than this part of all, and at least so many, are a fault. There should be none."""


def doubts(
    spec: ExperimentSpec, evidence: Evidence, *, ratio_p: float, before_p: float, missing: dict[str, str]
) -> tuple[str, ...]:
    """Sentences without a full stop, none where the sample is sound.

    Args:
        ratio_p, before_p: the smallest so far, of the arms' sizes and of what users did before.
        missing: by event, why its outcomes seem to go astray (`arrivals.missing`).
    """
    alpha = spec.analysis.ratio_alpha
    found = [_switched(evidence)]
    if ratio_p <= alpha:
        found.append(f"the arms' sizes do not fit equal shares (p {ratio_p:.2g}, limit {alpha:g})")
    if before_p <= alpha:
        found.append(
            f"the arms differed in what their users did before the first exposure (p {before_p:.2g}, limit {alpha:g}): "
            "users were not assigned by chance, or an earlier test goes on in them"
        )
    deciding = {column.event for column in spec.deciding_columns()}
    found += [sentence for event, sentence in missing.items() if event in deciding]
    return tuple(each for each in found if each)


def imbalance(spec: ExperimentSpec, evidence: Evidence) -> float:
    """How surely the arms differed before the start, as a p-value that may be looked at any time; 1 without CUPED.

    The mean of the covariates' e-values (`statistics/several.py`), so several of them cost nothing.
    """
    arms = (evidence.moments[STABLE], evidence.moments[CANDIDATE])
    if min(each.count for each in arms) < spec.analysis.minimum_users:
        return 1.0
    wanted = dict.fromkeys(covariate(metric) for metric in spec.metrics() if metric.cuped)
    rho = tuning(spec.analysis.planned_users, spec.analysis.ratio_alpha)
    values: dict[str, float] = {}
    for each in wanted:
        try:
            found = effect(Metric(each), *arms)
        except (EffectError, MomentsError):
            continue  # nothing was done before that could be compared
        if found.absolute_se > 0:
            values[_name(each)] = e_value(found.absolute, found.absolute_se, found.users, rho)
        elif found.absolute != 0:
            values[_name(each)] = inf
    return min(1.0, 1 / average(values)) if values else 1.0


def _switched(evidence: Evidence) -> str:
    switched = evidence.quality.switched
    everyone = switched + sum(evidence.exposed.values())
    if switched < SWITCHED_USERS or switched <= SWITCHED_PART * everyone:
        return ""
    return (
        f"{switched:,} of {everyone:,} users ({switched / everyone:.1%}) were exposed in both arms, more than "
        f"{SWITCHED_PART:.0%}: an id is shared by several users, or somebody divides users a second time"
    )


def _name(of: Ratio) -> str:
    return f"{of.numerator} over {of.denominator}"
