"""The terms of a replayed experiment: the same for all stories, fixed before anything is seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from serving.rollout.experiment.spec import ExperimentSpec

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday."""
BEFORE_DAYS = 7
DAYS = 14
"""maximumTime: counted from the first users of the candidate."""
VISIT_DAYS = DAYS + 3
"""Users come until then: shadow and start take time too."""
LOOK_HOURS = 12
MODEL = "ranker"
WINDOW = "24h"
FAILURES_LIMIT = 0.05
P99_LIMIT = 1.0
"""Seconds. Servers that share two busy cores answer in hundredths, and now and then in tenths of a second."""

_READ = {"window": WINDOW, "minimumRequests": 10}
_PER_RANKING = {
    "name": "clicks-per-ranking",
    "numerator": {"event": "click", "aggregate": "sum"},
    "denominator": {"event": "exposure", "aggregate": "count"},
    "cuped": False,
}
_PER_USER = {"name": "clicks-per-user", "numerator": {"event": "click", "aggregate": "sum"}, "capQuantile": 0.999}


def terms(bundle: str, planned_users: int) -> ExperimentSpec:
    """The specification. `bundle` is the candidate's path, `planned_users` those of both arms expected at the end."""
    document: dict[str, Any] = {
        "target": {"kind": "Deployment", "name": "ranker", "transformer": "transformer", "model": MODEL},
        "candidate": {"bundle": bundle},
        "schedule": {
            "shadowShare": 20,
            "shadowHold": "12h",
            "stages": [{"share": 10, "hold": "1d"}, {"share": 25, "hold": "1d"}, {"share": 50}],
        },
        "primaryMetric": _PER_RANKING,
        "secondaryMetrics": [_PER_USER],
        "guardrails": [
            {"name": "failures", "kind": "failures", "limit": FAILURES_LIMIT, **_READ},
            {"name": "latency", "kind": "p99Seconds", "limit": P99_LIMIT, **_READ},
        ],
        "analysis": {
            "plannedUsers": planned_users,
            "minimumUsers": 100,
            "minimumTime": "7d",
            "maximumTime": f"{DAYS}d",
            "attributionWindow": "1d",
            "before": f"{BEFORE_DAYS}d",
            "lookInterval": f"{LOOK_HOURS}h",
            "noDataLimit": "2d",
        },
        "evidence": {"collector": "http://127.0.0.1:8090", "prometheus": "http://127.0.0.1:9090"},
        "promotion": "automatic",
    }
    return ExperimentSpec.model_validate(document)
