"""How far it is, when it is expected to end, and what stands beside the verdict: sums, CUPED off, who asked for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from serving.rollout.experiment.evidence import Evidence
from serving.rollout.experiment.state import Phase
from serving.rollout.report.build import build
from serving.rollout.report.document import Report
from serving.rollout.report.figures import plots
from serving.rollout.report.page import page
from serving.rollout.report.resource import Resource

Make = Callable[..., Any]
DAY = 86_400.0


def told(made: Resource, last: Any, after_days: float = 0.0) -> Report:
    return build(made, last.at + timedelta(days=after_days))


def test_the_end_is_projected_at_the_pace_of_the_newest_share(remade: Make, stated: Make, looks: Make) -> None:
    """900 users of each arm a day at 50 %: 12,040 of 20,000 are there, so 4.4 days are left."""
    some = looks(0.02)[:9]
    report = told(remade(stated(Phase.RUNNING, some, watched=5 * DAY)), some[-1])
    found = report.progress
    assert found is not None
    assert (found.users, found.planned_users) == (12_040, 20_000)
    assert found.per_day == pytest.approx(1800)
    assert found.planned_at == pytest.approx(some[-1].at + timedelta(days=7960 / 1800), abs=timedelta(seconds=1))
    assert found.win_from == some[-1].at + timedelta(days=2)
    assert found.ends_by == some[-1].at + timedelta(days=23)
    assert found.projected_end == found.planned_at
    assert found.said[0].startswith(
        "12,040 of 20,000 planned users (60.2 %) have a closed window, and 1,800 more a day"
    )
    assert found.said[1].startswith(f"Projected end: {found.planned_at:%Y-%m-%d} (planned users and minimumTime")
    assert found.said[2] == f"No win before {found.win_from:%Y-%m-%d} (minimumTime)."


def test_a_plan_that_is_not_reached_in_time_says_so(remade: Make, stated: Make, looks: Make) -> None:
    some = looks(0.02)[:9]
    analysis = {"plannedUsers": 2_000_000, "minimumUsers": 100}
    found = told(remade(stated(Phase.RUNNING, some, watched=8 * DAY), analysis=analysis), some[-1]).progress
    assert found is not None
    assert found.projected_end == found.ends_by == some[-1].at + timedelta(days=20)
    assert "the planned users are not reached by then" in found.said[1]


def test_without_a_pace_only_the_latest_end_is_told(remade: Make, stated: Make, looks: Make) -> None:
    for some in ((), looks(0.02)[:1], looks(0.02)[:4]):
        found = build(remade(stated(Phase.RUNNING, some)), looks(0.02)[3].at).progress
        assert found is not None
        assert (found.per_day, found.planned_at) == (None, None)
        assert "cannot be told yet" in found.said[1]


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.WON, Phase.INCONCLUSIVE, Phase.STOPPING])
def test_what_has_a_verdict_projects_nothing(phase: Phase, remade: Make, stated: Make, looks: Make) -> None:
    some = looks(0.25)
    for given in (remade(stated(phase, some)), remade(stated(Phase.RUNNING, some), paused=True)):
        found = told(given, some[-1]).progress
        assert found is not None
        assert found.projected_end is None
        assert len(found.said) == 1


def test_nothing_is_told_before_users_met_the_candidate(remade: Make, stated: Make) -> None:
    assert build(remade(stated(Phase.PREPARING, exposed_since=None)), stated(Phase.PREPARING).since).progress is None


def test_raw_sums_and_deviations_are_the_users_own(tell: Make, evidence: Evidence) -> None:
    report = build(tell("win"), evidence.as_of)
    rows = {each.name: each for each in report.sums}
    assert list(rows) == ["click_count", "exposure_count", "click_count_before"]
    for place, name in enumerate(rows):
        for arm, total, deviation in (
            ("stable", rows[name].stable_sum, rows[name].stable_deviation),
            ("candidate", rows[name].candidate_sum, rows[name].candidate_deviation),
        ):
            sums = evidence.moments[arm]
            assert total == pytest.approx(sums.mean()[place] * sums.count)
            assert deviation == pytest.approx(np.sqrt(sums.covariance()[place, place]))
    assert rows["click_count_before"].meaning == "number of click, before the first exposure"


def test_the_difference_and_the_metric_without_cuped_stand_beside_the_lift(tell: Make, evidence: Evidence) -> None:
    report = build(tell("win"), evidence.as_of)
    primary, plain = report.primary, report.without_cuped
    assert primary is not None
    assert plain is not None
    means = [evidence.moments[arm].mean()[0] for arm in ("stable", "candidate")]
    assert (plain.stable, plain.candidate) == pytest.approx(tuple(means))
    assert plain.absolute == pytest.approx(means[1] - means[0])
    assert plain.absolute_low is not None
    assert primary.absolute_low is not None
    assert plain.absolute_low < primary.absolute_low
    text = page(report)
    for shown in ("without CUPED", "with CUPED: decides", f"<data value='{plain.absolute_low!r}'>"):
        assert shown in text


def test_hypothesis_and_owner_are_shown_and_may_be_left_out(tell: Make, remade: Make, stated: Make) -> None:
    given = remade(stated(Phase.RUNNING), hypothesis="Captions help <people>.", owner="search & discovery")
    report = build(given, stated(Phase.RUNNING).since)
    assert (report.hypothesis, report.owner) == ("Captions help <people>.", "search & discovery")
    assert "Captions help &lt;people&gt;." in page(report)
    assert "search &amp; discovery" in page(report)
    assert "<dt>Owner" not in page(build(tell("win"), stated(Phase.RUNNING).since))


def test_a_doubted_sample_dims_the_page_its_plot_and_its_words(remade: Make, stated: Make, looks: Make) -> None:
    said = "431 of 19,666 users (2.2%) were exposed in both arms, more than 1%"
    some = looks(0.25)
    some = (*some[:-1], some[-1].model_copy(update={"doubts": (said,), "missing": {"x": "no outcome `x`"}}))
    for phase, headline in (
        (Phase.WAITING, "Win, in doubt: clicks is"),
        (Phase.INCONCLUSIVE, "Inconclusive, in doubt: "),
        (Phase.RUNNING, "No verdict yet, in doubt: "),
    ):
        report = told(remade(stated(phase, some)), some[-1])
        assert report.doubts == (said,)
        assert report.verdict.headline.startswith(headline)
        assert report.verdict.because[0] == f"The sample is not to be believed: {said}."
        text = page(report)
        assert 'class="dim"' in text
        assert 'class="verdict open"' in text
        assert "no outcome `x`" in text
        (lift,) = [each for each in plots(report) if each.name == "lift"]
        assert lift.title.endswith(", in doubt")
        assert said in lift.words


def test_sizes_that_do_not_fit_dim_a_report_of_an_old_state_too(tell: Make) -> None:
    found = tell("ratio")
    old = [look.model_copy(update={"doubts": ()}) for look in found.state.looks]
    for looks in (found.state.looks, tuple(old)):
        made = replace(found, state=found.state.model_copy(update={"looks": looks}))
        assert 'class="dim"' in page(build(made, looks[-1].at))
