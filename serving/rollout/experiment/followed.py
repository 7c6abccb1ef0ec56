"""The spec that a running experiment follows, when the resource was edited since it began.

What steers may change at any time; the comparison may not, since its error rates hold for the plan it began with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serving.rollout.experiment.spec import ExperimentSpec, Schedule
from serving.rollout.experiment.state import Phase, State

FREE = ("promotion", "approved", "paused", "aborted", "notifications", "hypothesis", "owner")
"""Fields that may change while the experiment runs; of the schedule also every hold, and stages still to come."""

_BEFORE_USERS = frozenset({Phase.PREPARING, Phase.SHADOW})


def followed(spec: ExperimentSpec, state: State) -> tuple[ExperimentSpec, str]:
    """The spec that counts, and what was edited in the resource's and does not count: empty if all of it does."""
    started = state.started
    if started is None or spec == started:
        return spec, ""
    schedule = spec.schedule if _may_follow(spec.schedule, started.schedule, state) else started.schedule
    live = started.model_copy(update={"schedule": schedule, **{name: getattr(spec, name) for name in FREE}})
    refused = sorted(_differences(_document(live), _document(spec)))
    if not refused:
        return live, ""
    return live, (
        f"{', '.join(refused)} changed while the experiment runs, and is not followed: the comparison goes on as it "
        "began. Undo the change, or abort and start a new experiment with it."
    )


def _may_follow(edited: Schedule, started: Schedule, state: State) -> bool:
    passed = 0 if state.phase in _BEFORE_USERS else state.stage + 1
    shares = [stage.share for stage in edited.stages]
    same = shares[:passed] == [stage.share for stage in started.stages[:passed]]
    return same and edited.shadow_share == started.shadow_share


def _document(spec: ExperimentSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


def _differences(left: Any, right: Any, path: str = "spec") -> Iterator[str]:
    """Dotted names of the fields that differ; lists are one field."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in {**left, **right}:
            yield from _differences(left.get(key), right.get(key), f"{path}.{key}")
    elif left != right:
        yield path
