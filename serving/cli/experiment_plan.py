"""`sightline experiment plan`."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.context import of
from serving.cli.output import table

if TYPE_CHECKING:
    from rich.table import Table

    from serving.rollout.experiment.spec import ExperimentSpec
    from serving.rollout.planning import Plan
    from serving.rollout.statistics.history import Measured
    from serving.rollout.statistics.plan import Reading, Spread
    from serving.rollout.statistics.ramp import Ramp, Reach


def plan(
    context: typer.Context,
    users_per_day: Annotated[float | None, typer.Option(min=1, help="Distinct users of the service in a day.")] = None,
    users_per_month: Annotated[
        float | None, typer.Option(min=1, help="Distinct users in 28 days; left out, every day brings the same users.")
    ] = None,
    mean: Annotated[float | None, typer.Option(help="The metric's mean per user.")] = None,
    sd: Annotated[float | None, typer.Option(help="Its standard deviation over users.")] = None,
    cv: Annotated[float | None, typer.Option(help="Or standard deviation over mean.")] = None,
    correlation: Annotated[float | None, typer.Option(help="With the same metric before: what CUPED lives on.")] = None,
    history: Annotated[
        Path | None, typer.Option(help="Or measure all that: Parquet or CSV with user, day, value[, denominator].")
    ] = None,
    experiment: Annotated[
        Path | None, typer.Option(help="Take schedule, method and times from an experiment's file.")
    ] = None,
    effect: Annotated[str | None, typer.Option(help="Relative effect that is to be found: 1% or 0.01.")] = None,
    shares: Annotated[
        str | None, typer.Option(help="Percent of users in the candidate, with holds: 1:1h,5:1h,25:1h,50.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="The longest that it may take; 28 if left out.")] = None,
    window: Annotated[str | None, typer.Option(help="Attribution window: 1d.")] = None,
    method: Annotated[str | None, typer.Option(help="always-valid, group-sequential or fixed.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Chance to call a difference where there is none.")] = None,
    power: Annotated[float, typer.Option(help="Chance to find the effect.")] = 0.8,
) -> None:
    """Say which effect can be found by which day, before anything starts: from a few numbers or from history."""
    from serving.rollout.planning import plan as make

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
    _answer(context, made, measured, pessimistic=measured is None and users_per_month is None)


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

    metric = asked.spec.primary_metric
    before = ceil(_days(length(asked.spec.analysis.before))) if metric.cuped else 0
    return measure(
        visits(file),
        window_days=max(1, ceil(asked.window_days)),
        before_days=before,
        cap_quantile=metric.cap_quantile,
    )


def _days(span: Any) -> float:
    return float(span.total_seconds()) / 86_400


def _answer(context: typer.Context, made: Plan, measured: Measured | None, *, pessimistic: bool) -> None:
    from serving.rollout.report import words

    output, planned = of(context).output, round(2 * made.users)
    notes = list(made.assumptions)
    if pessimistic:
        notes.insert(0, "Every day is taken to bring the same users, which is the worst case: give --users-per-month.")
    seen = None
    if measured is not None:
        seen = {
            "users": measured.users,
            "value": measured.value,
            "cv": measured.spread.cv,
            "correlation": measured.spread.correlation,
            "capped": measured.capped,
        }
    output.answer({**made.to_json(), "plannedUsers": planned, "history": seen, "notes": notes})
    if output.json:
        return
    out = output.out
    out.print(made.verdict, style="bold", markup=False)
    if measured is not None:
        spread = f"cv {words.number(measured.spread.cv)}, correlation {words.number(measured.spread.correlation)}"
        out.print(f"History: {measured.users:,} users, value {words.number(measured.value)}, {spread}", markup=False)
    out.print(_by_day(made))
    out.print(_by_method(made))
    for line in (*_costs(made), f"plannedUsers: {planned:,} (both arms by the last day)", *notes):
        out.print(line, markup=False)


def _by_day(made: Plan) -> Table:
    from serving.rollout.report import words

    rows = [
        (
            each.day,
            words.percent(each.share, sign=False),
            f"{each.users:,.0f}",
            words.percent(each.detectable, sign=False),
            words.percent(each.detectable_without_cuped, sign=False),
        )
        for each in made.days
    ]
    columns = ("day", "share", "users in each arm", "smallest effect found", "without CUPED")
    return table("By day", columns, rows, right=columns)


def _by_method(made: Plan) -> Table:
    from serving.rollout.report import words

    rows = [
        (
            each.method + (" (this plan)" if each.method is made.method else ""),
            words.percent(each.detectable, sign=False),
            words.NOTHING if each.day is None else each.day,
        )
        for each in made.methods
    ]
    columns = ("read as", "smallest effect at the end", "day of the wanted effect")
    return table("By method", columns, rows, right=columns[1:])


def _costs(made: Plan) -> list[str]:
    from serving.rollout.report import words

    cuped, costs = made.cuped, made.costs
    without = words.percent(cuped.detectable_without, sign=False)
    day = f", and the wanted effect by day {cuped.day_without}" if cuped.day_without is not None else ""
    lines = []
    if cuped.correlation:
        saved = words.percent(cuped.users_saved, sign=False)
        lines.append(
            f"CUPED (correlation {cuped.correlation:.3g}) saves {saved} of the users; without it {without}{day}"
        )
    lines.append(
        f"The last share costs {costs.share:.3g} times the users of an even split, the ramp {costs.ramp:.3g} times; "
        f"against all other users instead of an equal lane the share would cost {costs.uneven:.3g} times"
    )
    return lines
