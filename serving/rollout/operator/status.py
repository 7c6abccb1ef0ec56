"""`status` of an Experiment: its state, the columns that kubectl shows, and conditions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from serving.rollout.experiment.desired import desired
from serving.rollout.experiment.followed import followed
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Outcome, Phase, State
from serving.rollout.kubernetes.api import Object
from serving.rollout.report import words

_BEFORE = frozenset({Phase.PENDING, Phase.PREPARING})
_LONGEST_MESSAGE = 4000


def status(spec: ExperimentSpec, state: State, failure: str, *, generation: int, old: Object, now: datetime) -> Object:
    """The whole status.

    Args:
        failure: what did not answer in the last step; empty when all went well.
        old: the status that is there: a condition that stays as it is keeps its time.
    """
    told = [
        _ready(state),
        _condition("Progressing", not state.phase.ended, state.reason or state.phase.value, state.message),
        _condition("Stalled", _stalled(state), state.reason or state.phase.value, state.message),
        reconciled(failure),
        _verdict(state),
    ]
    return {
        "observedGeneration": generation,
        "phase": state.phase.value,
        **columns(spec, state),
        "reason": state.reason,
        "message": state.message,
        "conditions": dated(told, old, generation, now),
        "state": json.loads(state.model_dump_json(by_alias=True, exclude_defaults=True)),
    }


def unreadable(fault: str, *, generation: int, old: Object, now: datetime) -> Object:
    """The status of a resource that cannot be read: what was known of it stays."""
    told = [
        _condition("Ready", False, "InvalidSpec", fault),
        _condition("Stalled", True, "InvalidSpec", fault),
        _condition("Reconciled", False, "InvalidSpec", fault),
    ]
    others = [each for each in old.get("conditions") or () if each["type"] not in {one["type"] for one in told}]
    return {
        **old,
        "observedGeneration": generation,
        "message": fault[:_LONGEST_MESSAGE],
        "conditions": [*dated(told, old, generation, now), *others],
    }


def columns(spec: ExperimentSpec, state: State) -> Mapping[str, str]:
    """What kubectl shows: texts, as a person reads them."""
    want = desired(followed(spec, state)[0], state)
    shown = {"share": f"{want.share / 100:g} %", "verdict": state.outcome.value}
    if want.everyone:
        shown["share"] = "100 %"
    elif want.shadow:
        shown["share"] = f"shadow {want.shadow / 100:g} %"
    if state.looks:
        look = state.looks[-1]
        shown["lift"] = words.lift(look.primary)
        shown["interval"] = words.ends(look.primary)
        shown["users"] = f"{look.users[0]} / {look.users[1]}"
        shown["ratioP"] = words.chance(look.ratio_p)
    return shown


def reconciled(failure: str) -> Object:
    """The condition that says whether the last step could be done."""
    if failure:
        return _condition("Reconciled", False, "Retrying", failure)
    return _condition("Reconciled", True, "Done", "the last step was done")


def dated(told: list[Object], old: Object, generation: int, now: datetime) -> list[Object]:
    """Conditions with the time since when they are as they are."""
    before = {each["type"]: each for each in old.get("conditions") or ()}
    made = []
    for condition in told:
        was: dict[str, Any] = before.get(condition["type"], {})
        same = was.get("status") == condition["status"]
        since = was["lastTransitionTime"] if same else now.strftime("%Y-%m-%dT%H:%M:%SZ")
        made.append({**condition, "lastTransitionTime": since, "observedGeneration": generation})
    return made


def _ready(state: State) -> Object:
    """True while it serves and when it has ended as it was meant to, whatever the verdict."""
    ready = state.phase not in _BEFORE and state.phase is not Phase.REJECTED
    return _condition("Ready", ready, state.phase.value, state.message)


def _stalled(state: State) -> bool:
    """Whether somebody must change something."""
    return state.phase is Phase.REJECTED or (state.phase is Phase.PROMOTING and state.reverts > 0)


def _verdict(state: State) -> Object:
    reason = {
        Outcome.PENDING: "Pending",
        Outcome.WIN: "Win",
        Outcome.HARM: "Harm",
        Outcome.INCONCLUSIVE: "Inconclusive",
    }[state.outcome]
    because = state.looks[-1].because if state.looks else "no look at the metrics so far"
    return _condition("Verdict", state.outcome is not Outcome.PENDING, reason, because)


def _condition(kind: str, true: bool, reason: str, message: str) -> Object:
    return {
        "type": kind,
        "status": "True" if true else "False",
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
    }
