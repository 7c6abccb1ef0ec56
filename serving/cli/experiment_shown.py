"""How experiments are shown: in a line, in full, and as what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from rich.table import Table

from serving.cli.experiment_outlook import Outlook, Step
from serving.cli.output import Output, table
from serving.rollout.experiment.desired import desired
from serving.rollout.experiment.sentences import span
from serving.rollout.experiment.state import Entry
from serving.rollout.report import words
from serving.rollout.report.document import Report, SumView
from serving.rollout.report.resource import Resource
from serving.rollout.report.sentence import deciding, verdict
from serving.rollout.traffic import Traffic

NEWEST = 12
"""Lines of the decision log that `status` shows."""


@dataclass(frozen=True, slots=True)
class Summary:
    """An experiment in a line. `share` is percent of users in the candidate, lifts are fractions of stable."""

    name: str
    namespace: str
    phase: str
    paused: bool
    share: float
    users: tuple[int, int] | None
    relative: float | None
    low: float | None
    high: float | None
    verdict: str
    end: str
    headline: str
    created: str | None


def summary(found: Resource) -> Summary:
    """The line."""
    state = found.state
    said = verdict(found.spec, state, found.given_reason)
    look = deciding(state) if state is not None else None
    return Summary(
        found.name,
        found.namespace,
        str(said.phase),
        found.spec.paused,
        share(found),
        look.users if look else None,
        look.primary.relative if look else None,
        look.primary.low if look else None,
        look.primary.high if look else None,
        str(said.outcome),
        str(said.end),
        said.headline,
        found.created.isoformat() if found.created else None,
    )


def share(found: Resource) -> float:
    """Percent of users that the candidate has now."""
    if found.state is None:
        return 0.0
    want = desired(found.state.started or found.spec, found.state)
    return 100.0 if want.everyone else want.share / 100


def listed(found: Sequence[Summary]) -> Table:
    """A table of experiments."""
    columns = ("namespace", "name", "phase", "share", "users", "lift", "interval", "verdict", "created")
    rows = [
        (
            each.namespace,
            each.name,
            each.phase + (" (paused)" if each.paused else ""),
            f"{each.share:g} %",
            counted(each.users),
            words.percent(each.relative),
            words.interval(each.low, each.high) if each.relative is not None else words.NOTHING,
            each.verdict,
            each.created or words.NOTHING,
        )
        for each in found
    ]
    return table("Experiments", columns, rows, right=("share", "users", "lift"))


def counted(users: tuple[int, int] | None) -> str:
    """Users of stable and of the candidate."""
    return words.NOTHING if users is None else f"{users[0]:,} / {users[1]:,}"


def show(output: Output, report: Report, brief: Summary, notes: Sequence[str]) -> None:
    """An experiment in full: the verdict first."""
    out = output.out
    out.print(f"Experiment {brief.name} in {brief.namespace}: {brief.phase}, {brief.share:g} % of users", markup=False)
    out.print(report.verdict.headline, style="bold", markup=False)
    named = [f"{what}: {text}" for what, text in (("Hypothesis", report.hypothesis), ("Owner", report.owner)) if text]
    going = report.progress.said if report.progress is not None else ()
    for line in (*report.verdict.because, *named, *going, *report.missing, *notes):
        out.print(line, markup=False)
    for each in (_metrics(report), _sums(report), _limits(report), _log(report.log)):
        if each is not None:
            out.print(each)
    if report.ratio is not None:
        fit = "do not fit" if report.ratio.mismatch else "fit"
        sizes = counted((report.arms[0].exposed, report.arms[1].exposed))
        out.print(f"Arms' sizes {sizes} {fit} equal shares (p {words.chance(report.ratio.p)})", markup=False)


def _metrics(report: Report) -> Table | None:
    told = [*report.metrics, *([report.without_cuped] if report.without_cuped else [])]
    rows = [
        (
            each.name,
            "without CUPED" if each is report.without_cuped else each.role,
            words.number(each.stable),
            words.number(each.candidate),
            words.difference(each.absolute, each.absolute_low, each.absolute_high),
            words.percent(each.relative),
            words.interval(each.low, each.high),
            each.judged,
        )
        for each in told
    ]
    columns = ("metric", "role", "stable", "candidate", "difference", "lift", "interval", "says")
    return table("Metrics", columns, rows, right=columns[2:6]) if rows else None


def _sums(report: Report) -> Table | None:
    rows = [
        (each.meaning, *map(words.number, (each.stable_sum, each.candidate_sum)), *map(words.number, _deviations(each)))
        for each in report.sums
    ]
    columns = ("raw, per user", "sum, stable", "sum, candidate", "deviation, stable", "deviation, candidate")
    return table("Sums", columns, rows, right=columns[1:]) if rows else None


def _deviations(of: SumView) -> tuple[float | None, float | None]:
    return of.stable_deviation, of.candidate_deviation


def _limits(report: Report) -> Table | None:
    def standing(each: Any) -> str:
        if each.breached:
            return "breached"
        if each.value is None:
            return "no reading: no pass"
        return "kept" if each.value <= each.limit else "above, not surely: no pass"

    rows = [(each.name, each.value_text, each.limit_text, standing(each), each.detail) for each in report.limits]
    return table("Guardrails", ("guardrail", "reads", "at most", "state", ""), rows) if rows else None


def _log(log: Sequence[Entry]) -> Table | None:
    rows = [(f"{each.at:%Y-%m-%d %H:%M}", each.reason, each.message) for each in log[-NEWEST:]]
    more = f" (the newest {NEWEST} of {len(log)})" if len(log) > NEWEST else ""
    return table(f"Decisions{more}", ("when, UTC", "decision", "why"), rows) if rows else None


def foreseen(ahead: Outlook) -> list[str]:
    """What will happen, line by line."""
    lines = [_step(each) for each in ahead.steps]
    lines += [
        f"first complete numbers after {ahead.first_numbers_days:g} days (attribution window)",
        f"no win before {ahead.win_after_days:g} days; inconclusive after {ahead.ends_after_days:g} days; "
        "harm and guardrails act at once",
        f"planned for {ahead.planned_users:,} users of both arms; at the last stage {ahead.in_experiment:g} % of all "
        "users take part",
    ]
    needed = [f"{each:,.0f} at stage {number}" for number, each in enumerate(ahead.rankings_needed, 1) if each]
    if needed:
        lines.append(f"guardrails can be read from these rankings of all users a day on: {', '.join(needed)}")
    return lines if ahead.traffic is None else [*lines, *read_when(ahead.traffic)]


def read_when(planned: Traffic) -> list[str]:
    """What guardrails read at a traffic, line by line."""
    found = [f"at {planned.rankings_per_day:,.0f} rankings a day (by night it takes longer):"]
    for each in planned.watched:
        read = "never read" if each.read_over is None else f"read over {span(each.read_over)}"
        finds = [
            f"{what} found in {span(max(seconds, 60.0))}"
            for what, seconds in (("total failure", each.finds_all), ("twice the limit", each.finds_twice))
            if seconds is not None
        ]
        found.append(f"stage {each.stage} ({each.share:g} %): {', '.join([f'{each.guardrail} {read}', *finds])}")
    return found


def _step(step: Step) -> str:
    hold = "until the verdict" if step.hold is None else f"for {words.time(timedelta(seconds=step.hold))}"
    begins = "at once" if step.after == 0 else f"after {words.time(timedelta(seconds=step.after))}"
    who = "scored unseen" if step.name == "shadow" else "in the candidate, as many compared"
    return f"{step.name}: {begins} {step.share:g} % of users {who}, {hold}"


def document(brief: Summary) -> dict[str, Any]:
    """The line as JSON."""
    return asdict(brief)
