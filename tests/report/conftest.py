"""Experiments that ended in every way there is, their looks made by the real analysis of drawn users."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest

from serving.rollout.experiment.analysis import analyse
from serving.rollout.experiment.evidence import Day, Evidence, Quality
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Entry, KeptReading, Lapse, Look, Outcome, Phase, State
from serving.rollout.report.build import build
from serving.rollout.report.document import Report
from serving.rollout.report.page import page
from serving.rollout.report.resource import Resource
from serving.rollout.statistics.moments import Moments

BEGUN = datetime(2026, 11, 2, 9, tzinfo=UTC)
SPEC = {
    "target": {"kind": "Deployment", "name": "shop-ranker", "transformer": "shop-transformer"},
    "candidate": {"bundle": "s3://shop/models/ranker/7"},
    "primaryMetric": {
        "name": "clicks",
        "numerator": {"event": "click", "aggregate": "count"},
    },
    "secondaryMetrics": [
        {
            "name": "click-rate",
            "numerator": {"event": "click", "aggregate": "count"},
            "denominator": {"event": "exposure", "aggregate": "count"},
            "cuped": False,
        },
    ],
    "metricGuardrails": [
        {
            "metric": {"name": "visits", "numerator": {"event": "exposure", "aggregate": "count"}, "cuped": False},
            "margin": 0.1,
        }
    ],
    "guardrails": [
        {"name": "p99", "kind": "p99Seconds", "limit": 0.2},
        {"name": "failures", "kind": "failures", "limit": 0.01},
    ],
    "analysis": {"plannedUsers": 20_000, "minimumUsers": 100},
    "evidence": {"collector": "http://collector:8090", "prometheus": "http://prometheus:9090"},
}


@cache
def watched(lift: float, lost: int = 0, days: int = 14) -> tuple[tuple[Look, ...], Evidence]:
    """Looks of daily users whose clicks are lifted in the candidate; `lost` users a day never reach its log."""
    spec, draw = ExperimentSpec.model_validate(SPEC), np.random.default_rng(5)
    state = State(since=BEGUN, salt="shop/1/users", watched=8 * 86_400.0)
    looks, by_day, total = [], [], {arm: Moments.empty(columns()) for arm in ("stable", "candidate")}
    for number in range(days):
        users = (20, 100, 500, 900)[min(number, 3)]
        today = {
            "stable": people(draw, users, 0.0),
            "candidate": people(draw, users - min(lost, users // 4), lift),
        }
        total = {arm: total[arm] + today[arm] for arm in total}
        by_day.append(Day((BEGUN + timedelta(days=number)).date(), today))
        evidence = Evidence(
            as_of=BEGUN + timedelta(days=number + 1),
            exposed={arm: sums.count for arm, sums in total.items()},
            moments=total,
            triggered=total,
            days=tuple(by_day),
            quality=Quality(duplicates=3 * number, late=number),
        )
        state = state.model_copy(update={"stage": min(number, 3)})
        looks.append(analyse(spec, evidence, state, evidence.as_of))
        state = state.model_copy(update={"looks": tuple(looks), "ratio_least_p": looks[-1].ratio_p})
    return tuple(looks), evidence


def columns() -> tuple[str, ...]:
    return ("click_count", "exposure_count", "click_count_before")


def people(draw: np.random.Generator, users: int, lift: float) -> Moments:
    taste = draw.gamma(2.0, 1.0, users)
    visits = 1 + draw.poisson(3 * taste)
    return Moments.of(
        {
            "click_count": draw.poisson(taste * (1 + lift)),
            "exposure_count": visits,
            "click_count_before": draw.poisson(2 * taste),
        }
    )


def reading(name: str, value: float | None, limit: float, detail: str = "") -> KeptReading:
    breached = value is not None and value > limit
    return KeptReading(
        name=name, at=BEGUN + timedelta(days=3), value=value, limit=limit, breached=breached, detail=detail
    )


FINE = (reading("p99", 0.041, 0.2), reading("failures", 0.0004, 0.01))


def resource(state: State | None, reason: str = "", **changes: Any) -> Resource:
    spec = ExperimentSpec.model_validate({**SPEC, **changes})
    return Resource("captions", "shop", "0b5e", BEGUN, spec, state, reason)


def state(phase: Phase, looks: tuple[Look, ...] = (), **more: Any) -> State:
    log = (
        Entry(at=BEGUN, reason="Prepared", message="the candidate is ready and warm"),
        Entry(at=BEGUN + timedelta(hours=1), reason="StageStarted", message="1 % of users meet the candidate"),
        Entry(at=BEGUN + timedelta(days=14), reason=str(phase), message="it ended", warning=phase is not Phase.WON),
    )
    given = {
        "phase": phase,
        "since": BEGUN + timedelta(days=14),
        "salt": "captions/0b5e/users",
        "stage": 3,
        "exposed_since": BEGUN + timedelta(hours=1),
        "bundle_id": "sha256:" + "a" * 64,
        "looks": looks,
        "ratio_least_p": looks[-1].ratio_p if looks else 1.0,
        "readings": FINE,
        "outcome": looks[-1].outcome if looks else Outcome.PENDING,
        "log": log,
    }
    return State.model_validate({**given, **more})


def win() -> Resource:
    return resource(state(Phase.WON, watched(0.25)[0], message="replace ranker 6 by ranker 7"))


def harm() -> Resource:
    return resource(state(Phase.ROLLED_BACK, watched(-0.25)[0]))


def inconclusive() -> Resource:
    return resource(state(Phase.INCONCLUSIVE, watched(0.003)[0]))


def guardrail() -> Resource:
    read = (reading("p99", 0.41, 0.2, "over 5m"), FINE[1])
    return resource(state(Phase.ROLLED_BACK, watched(0.003)[0][:4], readings=read))


def ratio() -> Resource:
    return resource(state(Phase.ROLLED_BACK, watched(0.003, lost=150)[0]))


def no_data() -> Resource:
    blind = Lapse(since=BEGUN, seconds=1800.0)
    read = (reading("p99", None, 0.2, "Prometheus does not answer"), FINE[1])
    return resource(state(Phase.ROLLED_BACK, readings=read, blind=blind, message="guardrail p99 has no data"))


def aborted() -> Resource:
    return resource(state(Phase.ABORTED, watched(0.003)[0][:3]), "the press event needs all machines")


def running() -> Resource:
    return resource(state(Phase.RUNNING, watched(0.02)[0][:9]))


STORIES: dict[str, Callable[[], Resource]] = {
    "win": win,
    "harm": harm,
    "inconclusive": inconclusive,
    "guardrail": guardrail,
    "ratio": ratio,
    "noData": no_data,
    "aborted": aborted,
    "waiting": running,
}
"""By the end that the report must name."""


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> tuple[str, Resource]:
    """Each end, and an experiment that came to it."""
    return request.param, STORIES[request.param]()


@pytest.fixture(scope="session", params=STORIES)
def written(request: pytest.FixtureRequest) -> tuple[str, Report, str]:
    """Each end, its report and its page, drawn once."""
    name = request.param
    report = build(STORIES[name](), BEGUN + timedelta(days=20), watched(0.25)[1] if name == "win" else None)
    return name, report, page(report)


@pytest.fixture(scope="session")
def tell() -> Callable[[str], Resource]:
    """An experiment by its end."""
    return lambda name: STORIES[name]()


@pytest.fixture(scope="session")
def evidence() -> Evidence:
    """What the winning experiment's last look asked for, with its days."""
    return watched(0.25)[1]


@pytest.fixture(scope="session")
def remade() -> Callable[..., Resource]:
    """An experiment of any state and changes of the spec."""
    return resource


@pytest.fixture(scope="session")
def stated() -> Callable[..., State]:
    """A state of any phase."""
    return state


@pytest.fixture(scope="session")
def looks() -> Callable[..., tuple[Look, ...]]:
    """Looks at users with a lift."""
    return lambda lift, **more: watched(lift, **more)[0]
