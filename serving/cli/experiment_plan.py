"""`sightline experiment plan`."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.local_path import path_option

if TYPE_CHECKING:
    from serving.rollout.experiment.spec import ExperimentSpec
    from serving.rollout.statistics.history import Measured
    from serving.rollout.statistics.plan import Reading, Spread
    from serving.rollout.statistics.ramp import Ramp, Reach
    from serving.rollout.traffic import Traffic


RankingsPerDay = Annotated[
    float | None,
    typer.Option(
        min=1, max=1e12, help="Rankings of all users in a day: says what guardrails can read, stage by stage."
    ),
]
LONGEST_PLAN = 400
"""Days: as long as maximumTime may be."""


def plan(
    context: typer.Context,
    users_per_day: Annotated[
        float | None, typer.Option(min=1, max=1e11, help="Distinct users of the service in a day.")
    ] = None,
    users_per_month: Annotated[
        float | None,
        typer.Option(min=1, max=1e11, help="Distinct users in 28 days; left out, every day brings the same users."),
    ] = None,
    mean: Annotated[float | None, typer.Option(help="The metric's mean per user.")] = None,
    sd: Annotated[float | None, typer.Option(help="Its standard deviation over users.")] = None,
    cv: Annotated[float | None, typer.Option(help="Or standard deviation over mean.")] = None,
    correlation: Annotated[float | None, typer.Option(help="With the same metric before: what CUPED lives on.")] = None,
    history: Annotated[
        Path | None, path_option(help="Or measure all that: Parquet or CSV with user, day, value[, denominator].")
    ] = None,
    experiment: Annotated[
        Path | None, path_option(help="Take schedule, method and times from an experiment's file.")
    ] = None,
    effect: Annotated[str | None, typer.Option(help="Relative effect that is to be found: 1% or 0.01.")] = None,
    shares: Annotated[
        str | None, typer.Option(help="Percent of users in the candidate, with holds: 1:1h,5:1h,25:1h,50.")
    ] = None,
    rankings_per_day: RankingsPerDay = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=LONGEST_PLAN, help="The longest that it may take; 28 if left out.")
    ] = None,
    window: Annotated[str | None, typer.Option(help="Attribution window: 1d.")] = None,
    method: Annotated[str | None, typer.Option(help="always-valid, group-sequential or fixed.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Chance to call a difference where there is none.")] = None,
    power: Annotated[float, typer.Option(help="Chance to find the effect.")] = 0.8,
) -> None:
    """Say which effect can be found by which day, before anything starts: from a few numbers or from history."""
    from serving.cli.experiment_planned import answer
    from serving.rollout.planning import plan as make

    _finite(mean=mean, sd=sd, cv=cv, correlation=correlation, alpha=alpha, power=power)
    base = _base(experiment)
    over = {"alpha": alpha, "method": method, "attributionWindow": window}
    asked = _Asked.of(base, {key: value for key, value in over.items() if value is not None}, shares, days)
    measured = _measured(history, asked) if history is not None else None
    made = make(
        reach=measured.reach if measured else _reach(users_per_day, users_per_month),
        spread=_spread(measured, mean, sd, cv, correlation),
        ramp=asked.ramp,
        reading=asked.reading(power),
        days=asked.days,
        window_days=asked.window_days,
        wanted=_effect(effect),
    )
    daily = measured.reach.by_days[0] if measured else users_per_day
    watched = _watched(asked.spec, rankings_per_day, daily) if experiment is not None else None
    once = watched is not None and rankings_per_day is None
    answer(context, made, measured, watched, pessimistic=measured is None and users_per_month is None, once=once)


def _finite(**given: float | None) -> None:
    from math import isfinite

    for name, value in given.items():
        if value is not None and not isfinite(value):
            raise typer.BadParameter(f"--{name} is {value}; expected a finite number")


def _watched(spec: ExperimentSpec, rankings: float | None, users: float | None) -> Traffic | None:
    """What guardrails and stages are at this traffic; a user who is ranked once a day is the least."""
    from serving.rollout.traffic import traffic

    found = rankings if rankings is not None else users
    return None if found is None else traffic(spec, found, users)


@dataclass(frozen=True)
class _Asked:
    """Schedule and analysis that the plan is for."""

    spec: ExperimentSpec
    ramp: Ramp
    days: int

    @classmethod
    def of(cls, base: dict[str, Any], over: dict[str, Any], shares: str | None, days: int | None) -> _Asked:
        """Raises ExperimentFileError for settings that no experiment can have."""
        from pydantic import ValidationError

        from serving.cli.experiment_faults import ExperimentFileError, faults_of
        from serving.rollout.experiment.durations import length
        from serving.rollout.experiment.spec import ExperimentSpec
        from serving.rollout.statistics.ramp import Ramp, Step

        document = {**base, "analysis": {**base["analysis"], **over}}
        if shares is not None:
            document["schedule"] = {**base.get("schedule", {}), "stages": _stages(shares)}
        try:
            spec = ExperimentSpec.model_validate(document)
        except ValidationError as error:
            raise ExperimentFileError("the plan's settings", faults_of(error)) from error
        steps = [Step(each.share / 100, _days(length(each.hold))) for each in spec.schedule.stages]
        longest = days or ceil(_days(length(spec.analysis.maximum_time)))
        return cls(spec, Ramp(tuple(steps)), longest)

    @property
    def window_days(self) -> float:
        return _days(self.spec.window)

    def reading(self, power: float) -> Reading:
        from serving.rollout.experiment.durations import length
        from serving.rollout.experiment.spec import Method
        from serving.rollout.statistics.plan import Method as Way
        from serving.rollout.statistics.plan import Reading

        ways = {
            Method.ALWAYS_VALID: Way.ALWAYS_VALID,
            Method.GROUP_SEQUENTIAL: Way.GROUP_SEQUENTIAL,
            Method.FIXED: Way.FIXED_HORIZON,
        }
        analysis = self.spec.analysis
        first = max(1, min(ceil(_days(length(analysis.minimum_time))), self.days))
        looks = analysis.looks if analysis.method is Method.GROUP_SEQUENTIAL else None
        return Reading(ways[analysis.method], analysis.alpha, power, first, looks)


def _base(file: Path | None) -> dict[str, Any]:
    """An experiment's settings: a file's, or the defaults."""
    from serving.cli.experiment_file import read

    if file is not None:
        return read(file).spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {
        "target": {"kind": "InferenceService", "name": "planned"},
        "candidate": {"bundle": "planned"},
        "primaryMetric": {"name": "planned", "numerator": {"event": "planned"}},
        "analysis": {"plannedUsers": 100},
        "evidence": {"collector": "http://planned"},
    }


def _stages(text: str) -> list[dict[str, Any]]:
    """1:1h,5:1h,50 as stages; what is no number is left to the spec, which says what is wrong with it."""
    found = []
    for part in text.split(","):
        share, colon, hold = part.strip().partition(":")
        found.append({"share": share.removesuffix("%").strip()} | ({"hold": hold} if colon else {}))
    return found


def _effect(text: str | None) -> float | None:
    if text is None:
        return None
    number = text.strip().removesuffix("%").strip()
    try:
        return float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError as error:
        raise typer.BadParameter(f"--effect is {text!r}; expected a relative effect: 1% or 0.01") from error


def _reach(daily: float | None, monthly: float | None) -> Reach:
    from serving.rollout.statistics.ramp import Reach

    if daily is None:
        raise typer.BadParameter("give --users-per-day, or --history with past visits")
    return Reach.of(daily, daily if monthly is None else monthly)


def _spread(
    measured: Measured | None, mean: float | None, sd: float | None, cv: float | None, correlation: float | None
) -> Spread:
    """Raises PlanError, BadParameter."""
    from serving.rollout.statistics.plan import Spread

    if measured is not None:
        if (mean, sd, cv, correlation) != (None, None, None, None):
            raise typer.BadParameter("--history measures mean, deviation and correlation; leave those options out")
        return measured.spread
    if cv is not None and (mean, sd) == (None, None):
        return Spread(cv, correlation or 0.0)
    if cv is None and mean is not None and sd is not None:
        return Spread.of(mean, sd, correlation or 0.0)
    raise typer.BadParameter("give --cv, or --mean and --sd, or --history: without a spread no effect can be planned")


def _measured(file: Path, asked: _Asked) -> Measured:
    """Raises HistoryError, PlanError."""
    from serving.cli.experiment_history import visits
    from serving.rollout.experiment.durations import length
    from serving.rollout.statistics.history import measure
    from serving.rollout.statistics.winsor import CapRule

    metric = asked.spec.primary_metric
    before = ceil(_days(length(asked.spec.analysis.before))) if metric.cuped else 0
    return measure(
        visits(file),
        window_days=max(1, ceil(asked.window_days)),
        before_days=before,
        cap=CapRule(metric.cap_quantile, metric.cap_lower_quantile, metric.cap_nonzero) if metric.capped else None,
    )


def _days(span: Any) -> float:
    return float(span.total_seconds()) / 86_400
