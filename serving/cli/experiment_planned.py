"""What `sightline experiment plan` prints: the verdict, the days that differ, methods, costs, guardrails."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby

import typer
from rich.table import Table

from serving.cli.context import of
from serving.cli.experiment_shown import read_when
from serving.cli.output import table
from serving.rollout.planning import Plan, PlanDay
from serving.rollout.report import words
from serving.rollout.statistics.history import Measured
from serving.rollout.traffic import Traffic


def answer(
    context: typer.Context,
    made: Plan,
    measured: Measured | None,
    watched: Traffic | None,
    *,
    pessimistic: bool,
    once: bool,
) -> None:
    """Print it. `pessimistic`: every day brings the same users; `once`: each of them is ranked once a day."""
    output, planned = of(context).output, round(2 * made.users)
    notes = list(made.assumptions)
    if pessimistic:
        notes.insert(0, "Every day is taken to bring the same users, which is the worst case: give --users-per-month.")
    if once:
        notes.insert(0, "Every user is taken to be ranked once a day: give --rankings-per-day.")
    seen = None
    if measured is not None:
        seen = {
            "users": measured.users,
            "value": measured.value,
            "cv": measured.spread.cv,
            "correlation": measured.spread.correlation,
            "capped": measured.capped,
        }
    guards = None if watched is None else asdict(watched)
    output.answer({**made.to_json(), "plannedUsers": planned, "history": seen, "guardrails": guards, "notes": notes})
    if output.json:
        return
    out = output.out
    out.print(made.verdict, style="bold", markup=False)
    if measured is not None:
        spread = f"cv {words.number(measured.spread.cv)}, correlation {words.number(measured.spread.correlation)}"
        out.print(f"History: {measured.users:,} users, value {words.number(measured.value)}, {spread}", markup=False)
    out.print(_by_day(made))
    out.print(_by_method(made))
    for line in () if watched is None else (*read_when(watched), *(f"warning: {each}" for each in watched.faults)):
        out.print(line, markup=False)
    for line in (*_costs(made), f"plannedUsers: {planned:,} (both arms by the last day)", *notes):
        out.print(line, markup=False)


def _by_day(made: Plan) -> Table:
    def shown(each: PlanDay) -> tuple[str, ...]:
        return (
            words.percent(each.share, sign=False),
            f"{each.users:,.0f}",
            words.percent(each.detectable, sign=False),
            words.percent(each.detectable_without_cuped, sign=False),
        )

    rows = []
    for cells, days in groupby(made.days, key=shown):
        first, *_, last = (same := list(days))[0], same[-1]
        rows.append((f"{first.day} to {last.day}" if len(same) > 1 else str(first.day), *cells))
    columns = ("day", "share", "users in each arm", "smallest effect found", "without CUPED")
    return table("By day", columns, rows, right=columns)


def _by_method(made: Plan) -> Table:
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
