"""The report of every end: what is said first, what the numbers are, what would change it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from math import sqrt
from typing import Any

import numpy as np
import pytest

from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Entry, Estimate, Look, Outcome, Phase, State
from serving.rollout.operator.status import status
from serving.rollout.report.build import build
from serving.rollout.report.change import users_needed, would_change
from serving.rollout.report.document import End, Report
from serving.rollout.report.page import page
from serving.rollout.report.resource import Resource, ResourceError, read
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import always_valid, tuning

NOW = datetime(2026, 11, 24, tzinfo=UTC)
Tell = Callable[[str], Resource]
Make = Callable[..., Any]
HEADLINES = {
    "win": r"^Win: clicks is 25.2 % higher with the candidate; the whole interval \[\+21.* is on the good side of zero",
    "harm": r"^Harm: clicks is 24.9 % lower with the candidate, which is worse; .* is on the bad side of zero",
    "inconclusive": r"^Inconclusive: the lift of clicks lies in \[−.*, \+.*\], which includes zero; effects above \+",
    "guardrail": r"^Rolled back: guardrail p99 read 0.41 s, and at most 0.2 s is accepted\.$",
    "ratio": r"^Rolled back: the arms' sizes \(10,520 and 8,715 users\) do not fit their equal shares \(p below",
    "noData": r"^Rolled back: guardrails were without data for 30 minutes, and no data is never a pass\.$",
    "aborted": r"^Aborted by a person: the press event needs all machines\.$",
    "waiting": r"^No verdict yet: at 50 % of users, the lift of clicks lies in \[−",
}


def report(found: Resource, evidence: Evidence | None = None) -> Report:
    return build(found, NOW, evidence)


def test_every_end_is_named_and_said_in_one_sentence(story: tuple[str, Resource]) -> None:
    name, found = story
    made = report(found)
    assert made.verdict.end == End(name)
    assert made.verdict.ended is (name != "waiting")
    assert made.verdict.headline.endswith(".")
    assert re.search(HEADLINES[name], made.verdict.headline), made.verdict.headline


def test_the_document_says_the_same_after_a_round_trip(story: tuple[str, Resource]) -> None:
    made = report(story[1])
    text = made.to_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert Report.model_validate_json(text) == made
    assert json.loads(text)["formatVersion"] == 1


def test_numbers_are_the_states_own(tell: Tell) -> None:
    found = tell("win")
    assert found.state is not None
    last, made = found.state.looks[-1], report(found)
    assert len(made.points) == len(found.state.looks) == 14
    primary = made.primary
    assert primary is not None
    assert (primary.relative, primary.low, primary.high) == (
        last.primary.relative,
        last.primary.low,
        last.primary.high,
    )
    assert [arm.counted for arm in made.arms] == list(last.users)
    assert [arm.exposed for arm in made.arms] == list(last.exposed)
    assert [point.share for point in made.points][:5] == [1, 5, 25, 50, 50]
    roles = [(each.name, each.role, each.judged) for each in made.metrics]
    assert roles == [
        ("clicks", "primary", "better"),
        ("click-rate", "secondary", "better"),
        ("visits", "guardrail", "within its margin"),
    ]
    assert [(each.name, each.count) for each in made.quality][:2] == [("duplicates", 39), ("late", 13)]
    assert [(each.name, each.used, each.breached) for each in made.limits] == [
        ("p99", pytest.approx(0.205), False),
        ("failures", pytest.approx(0.04), False),
    ]


def test_cumulative_lift_is_what_the_candidates_users_did_more(tell: Tell) -> None:
    made = report(tell("win"))
    last, primary = made.points[-1], made.primary
    assert primary is not None
    assert primary.stable is not None
    assert primary.candidate is not None
    more = (primary.candidate - primary.stable) * last.users_candidate
    assert last.extra == pytest.approx(more)
    assert last.extra_low is not None
    assert last.extra_high is not None
    assert last.extra_low < more < last.extra_high
    assert made.unit == "number of click"


def test_a_ratio_has_no_cumulative_lift_in_a_unit(remade: Make, stated: Make, looks: Make) -> None:
    rate = {"name": "rate", "numerator": {"event": "click"}, "denominator": {"event": "exposure"}}
    made = report(remade(stated(Phase.WON, looks(0.25)), primaryMetric=rate))
    assert made.unit == ""
    assert {point.extra for point in made.points} == {None}


def test_days_come_from_evidence_alone(tell: Tell, evidence: Evidence) -> None:
    assert report(tell("win")).days == ()
    made = report(tell("win"), evidence)
    assert len(made.days) == 14
    assert [each.name for each in made.weekdays][:2] == ["Monday", "Tuesday"]
    assert len(made.weekdays) == 7
    assert sum(each.users_candidate or 0 for each in made.weekdays) == made.arms[1].counted
    assert sum(each.users_candidate or 0 for each in made.days) == made.arms[1].counted
    assert made.notes[0].startswith("No sign that the lift fades or grows with the day of first exposure: ")
    assert made.notes[1].startswith("No sign that days of the week differ (p ")


def test_a_lift_that_grows_is_told(tell: Tell, evidence: Evidence) -> None:
    early = [replace(day, moments={**day.moments, "candidate": day.moments["stable"]}) for day in evidence.days[:7]]
    grows = report(tell("win"), replace(evidence, days=(*early, *evidence.days[7:])))
    assert grows.notes[0].startswith("The lift grows with the day of first exposure, by +")


def test_too_few_days_say_so(tell: Tell, evidence: Evidence) -> None:
    made = report(tell("win"), replace(evidence, days=evidence.days[:2]))
    assert made.notes == (
        "Nothing is said of days yet: days are compared from 2 whole weeks on, with 10 days or more of at least 20 "
        "users in each arm whose window has closed; there are 2 such days in 0 whole weeks.",
    )


def test_a_single_week_claims_nothing(tell: Tell, evidence: Evidence) -> None:
    """Its Saturday is one day, its slope as much the week's as a novelty's."""
    one = [replace(day, moments={**day.moments, "candidate": day.moments["stable"]}) for day in evidence.days[:4]]
    made = report(tell("win"), replace(evidence, days=(*one, *evidence.days[4:7])))
    assert len(made.notes) == 1
    assert made.notes[0].startswith("Nothing is said of days yet")


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["nobody", "everybody"])
@pytest.mark.parametrize("arms", [("stable", "candidate"), ("stable",), ("candidate",)])
def test_a_day_whose_users_are_all_alike_or_one_has_a_report(
    tell: Tell, evidence: Evidence, value: float, arms: tuple[str, ...]
) -> None:
    """A day on which all converted ended in a ZeroDivisionError."""
    for users in (0, 1, 2, 50):
        days = list(evidence.days)
        alike = {name: np.full(users, value) for name in days[5].moments["stable"].columns}
        days[5] = replace(days[5], moments={**days[5].moments, **dict.fromkeys(arms, Moments.of(alike))})
        made = report(tell("win"), replace(evidence, days=tuple(days)))
        assert len(made.days) == (14 if users else 13)
        assert len(made.notes) == 2
        assert page(made)


def test_triggered_users_are_told_apart(tell: Tell, evidence: Evidence) -> None:
    """Half of the users were ranked captioned items, and all of the lift is theirs."""
    half = {arm: evidence.days[-1].moments[arm] for arm in ("stable", "candidate")}
    rest = dict.fromkeys(half, evidence.days[-2].moments["stable"])
    everyone = {arm: half[arm] + rest[arm] for arm in half}
    made = report(tell("win"), replace(evidence, moments=everyone, triggered=half)).trigger
    assert made is not None
    assert made.share == pytest.approx(0.5)
    assert made.among.relative is not None
    assert made.diluted.relative is not None
    assert made.others is not None
    assert made.others.relative == pytest.approx(0)
    assert 0 < made.diluted.relative < made.among.relative
    assert made.sizes_p == 1.0
    nobody = {arm: half[arm].empty(half[arm].columns) for arm in half}
    assert report(tell("win"), replace(evidence, triggered=nobody)).trigger is None


def test_users_needed_is_where_the_sequence_would_exclude_zero(remade: Make) -> None:
    """Against the formula itself: at that many users, with the same spread and lift, the interval touches zero."""
    spec = remade(None).spec
    rho = tuning(spec.analysis.planned_users, spec.analysis.alpha)
    seen, lift, deviation = 10_000, 0.01, 1.2
    ends = always_valid(lift, deviation / sqrt(seen), seen, alpha=0.05, rho=rho)
    needed = users_needed(spec, look(lift, ends.low, ends.high, seen // 2))
    assert needed is not None
    assert needed > seen
    then = always_valid(lift, deviation / sqrt(needed), round(needed), alpha=0.05, rho=rho)
    assert then.low == pytest.approx(0, abs=lift * 1e-3)
    assert users_needed(spec, look(0.0, -0.1, 0.1, 5000)) is None
    assert users_needed(spec, look(0.1, None, 0.1, 5000)) is None
    assert users_needed(spec, look(1e-9, -0.1, 0.1, 5000)) is None


@pytest.mark.parametrize("name", ["win", "harm", "inconclusive", "guardrail", "ratio", "noData", "aborted", "waiting"])
def test_something_is_said_of_what_would_change_the_verdict(tell: Tell, name: str) -> None:
    assert report(tell(name)).would_change


def test_a_guardrail_metric_beyond_its_margin_is_named(remade: Make, stated: Make, looks: Make) -> None:
    last = looks(0.003)[-1]
    bad = last.guardrails[0].model_copy(update={"relative": -0.3, "low": -0.35, "high": -0.25, "kept": False})
    broken = last.model_copy(update={"guardrails": (bad,), "breached": ("visits",)})
    made = report(remade(stated(Phase.ROLLED_BACK, (broken,))))
    assert made.verdict.end is End.GUARDRAIL
    assert made.verdict.headline == "Rolled back: guardrail metric visits lies in [−35 %, −25 %], worse than 10 %."
    assert made.metrics[-1].judged == "worse than its margin"


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        (Phase.PENDING, "has not begun"),
        (Phase.PREPARING, "is being prepared"),
        (Phase.SHADOW, "in the shadow"),
        (Phase.RUNNING, "the first look needs 100 users in each arm"),
    ],
)
def test_before_the_first_look_there_is_no_number(remade: Make, stated: Make, phase: Phase, says: str) -> None:
    made = report(remade(stated(phase)))
    assert made.verdict.end is End.WAITING
    assert says in made.verdict.headline
    assert (made.points, made.metrics, made.arms, made.ratio) == ((), (), (), None)


def test_without_a_controller_the_report_says_so(remade: Make) -> None:
    made = report(remade(None))
    assert "no controller has seen the experiment" in made.verdict.headline
    assert made.verdict.phase is Phase.PENDING


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        (Phase.WAITING, "waits for approval"),
        (Phase.PROMOTING, "is replacing"),
        (Phase.PROMOTED, "has replaced"),
        (Phase.WON, "left to people"),
    ],
)
def test_a_win_says_what_happens_now(remade: Make, stated: Make, looks: Make, phase: Phase, says: str) -> None:
    made = report(remade(stated(phase, looks(0.25))))
    assert made.verdict.end is End.WIN
    assert says in " ".join(made.verdict.because)


def test_an_experiment_that_is_stopping_is_told_by_its_end(remade: Make, stated: Make, looks: Make) -> None:
    made = report(remade(stated(Phase.STOPPING, looks(-0.25), end=Phase.ROLLED_BACK)))
    assert made.verdict.end is End.HARM
    assert made.ended_at is None


def test_a_rejected_bundle_and_an_unknown_reason_give_the_controllers_words(remade: Make, stated: Make) -> None:
    rejected = report(remade(stated(Phase.REJECTED, message="s3://shop/models/ranker/7 has no manifest")))
    assert rejected.verdict.headline == "Rejected: s3://shop/models/ranker/7 has no manifest."
    other = report(remade(stated(Phase.ROLLED_BACK, message="the candidate's pods went away")))
    assert other.verdict.end is End.FAILED
    assert other.verdict.headline == "Rolled back: the candidate's pods went away."


def test_the_logged_reason_comes_before_the_facts(remade: Make, stated: Make, looks: Make) -> None:
    """A candidate that was lost while a guardrail read badly: what the controller acted on is told."""
    logged = (
        Entry(at=NOW, reason="CandidateLost", message="", warning=True),
        Entry(at=NOW, reason="Ended", message="Ended as RolledBack"),
    )
    made = report(remade(stated(Phase.ROLLED_BACK, looks(0.003), log=logged, message="Not ready for 30 min.")))
    assert made.verdict.end is End.FAILED
    assert made.verdict.headline == "Rolled back: Not ready for 30 min."


def test_a_stable_that_changed_is_no_persons_abort(remade: Make, stated: Make) -> None:
    changed = (Entry(at=NOW, reason="StableChanged", message="", warning=True),)
    made = report(remade(stated(Phase.ABORTED, log=changed, message="Stable was changed from a to b.")))
    assert made.verdict.headline == "Aborted: Stable was changed from a to b."
    assert report(remade(stated(Phase.ABORTED))).verdict.headline == "Aborted by a person, who gave no reason."


def test_a_win_is_told_by_the_look_that_won(remade: Make, stated: Make, looks: Make) -> None:
    """While it waits for approval looks go on; the verdict rests on the one that decided."""
    won, later = looks(0.25)[-2], looks(0.003)[-1]
    made = report(remade(stated(Phase.WAITING, (won, later), outcome=Outcome.WIN)))
    assert made.primary is not None
    assert made.primary.relative == won.primary.relative
    assert len(made.points) == 2


def test_the_spec_that_counts_is_the_one_it_began_with(remade: Make, stated: Make, looks: Make) -> None:
    began = remade(None).spec
    edited = remade(
        stated(Phase.RUNNING, looks(0.02), started=began), candidate={"bundle": "s3://shop/models/ranker/8"}
    )
    assert report(edited).bundle == "s3://shop/models/ranker/7"


def test_how_it_was_computed_names_every_number_of_the_plan(tell: Tell) -> None:
    said = " ".join(each.words for each in report(tell("win")).how)
    for part in (
        "alpha = 0.05",
        "20,000 users",
        "rho = ",
        "CUPED",
        "7 days",
        "28 days",
        "0.001",
        "Bonferroni",
        "1 day",
    ):
        assert part in said


@pytest.mark.parametrize("method", ["fixed", "group-sequential"])
def test_the_planned_methods_are_explained_too(remade: Make, stated: Make, method: str) -> None:
    made = report(remade(stated(Phase.RUNNING), analysis={"plannedUsers": 20_000, "method": method}))
    said = next(each.words for each in made.how if each.term == "Interval")
    assert ("One look at" if method == "fixed" else "5 looks were planned") in said


def test_a_resource_is_read_as_its_controller_writes_it(tell: Tell) -> None:
    found = tell("win")
    assert found.state is not None
    document = {
        "metadata": {
            "name": "captions",
            "namespace": "shop",
            "uid": "1",
            "creationTimestamp": "2026-11-02T09:00:00Z",
            "annotations": {"sightline.dev/reason": "because"},
        },
        "spec": found.spec.model_dump(mode="json", by_alias=True),
        "status": status(found.spec, found.state, "", generation=1, old={}, now=NOW),
    }
    again = read(document)
    assert (again.spec, again.state, again.given_reason) == (found.spec, found.state, "because")
    assert read({**document, "status": {}}).state is None


def test_a_resource_that_cannot_be_read_says_which_field() -> None:
    with pytest.raises(ResourceError, match=r"Experiment x in shop: spec cannot be read .*target"):
        read({"metadata": {"name": "x", "namespace": "shop"}, "spec": {}})


def look(relative: float, low: float | None, high: float | None, users: int) -> Look:
    found = Estimate(
        metric="clicks", stable=1.0, candidate=1 + relative, relative=relative, low=low, high=high, level=0.95
    )
    return Look(
        at=NOW, users=(users, users), exposed=(users, users), ratio_p=1.0, primary=found, outcome=Outcome.PENDING
    )


def test_without_looks_the_advice_is_to_wait(remade: Make, stated: Make) -> None:
    spec: ExperimentSpec = remade(None).spec
    waiting: State = stated(Phase.RUNNING)
    assert would_change(End.WAITING, spec, waiting) == ("Users: there has been no look yet.",)


def test_it_says_whether_the_arms_were_compared_before_the_start(tell: Tell) -> None:
    found = tell("win")
    told = {}
    for cuped in (True, False):
        metric = found.spec.primary_metric.model_copy(update={"cuped": cuped})
        rest = [each.model_copy(update={"cuped": False}) for each in found.spec.secondary_metrics]
        spec = found.spec.model_copy(update={"primary_metric": metric, "secondary_metrics": rest})
        said = {each.term: each.words for each in report(replace(found, spec=spec)).how}
        told[cuped] = said["Arms before the start"]
    assert re.search(r"before their first exposure is compared, by clicks: a difference there is a doubt", told[True])
    assert told[False].startswith("Not tested: no metric has cuped")
