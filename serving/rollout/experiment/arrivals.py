"""Whether the outcomes that metrics ask for arrive at all: a misspelt event or other user ids are found in hours."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from serving.rollout.experiment.evidence import Arrived, Evidence
from serving.rollout.experiment.spec import EXPOSURE, ExperimentSpec

NEAR_USERS, NOBODY_USERS = 100, 1000
"""Exposed users, both arms, from which an event that never came is told: where one of a like name came, and else."""
LEAST_OTHERS = 50
"""Outcomes of another name below which it is not taken for the right one."""
EXPECTED, PART = 50.0, 0.1
"""Outcomes that exposed users should have had by now, and the part of them below which ids are taken to differ."""
_ALIKE = 0.7
_SHOWN = 3


def missing(spec: ExperimentSpec, evidence: Evidence) -> dict[str, str]:
    """By event of the metrics, a sentence that says what seems to be wrong; empty where all arrive."""
    events = dict.fromkeys(column.event for column in spec.columns() if column.event != EXPOSURE)
    if evidence.arrivals is None:
        found = {event: _no_sum(event, spec, evidence) for event in events}
    else:
        found = {event: _astray(event, spec, evidence, evidence.arrivals) for event in events}
    return {event: sentence for event, sentence in found.items() if sentence}


def _astray(event: str, spec: ExperimentSpec, evidence: Evidence, arrivals: Mapping[str, Arrived]) -> str:
    here, users = arrivals.get(event, Arrived(0, 0)), sum(evidence.exposed.values())
    total = here.exposed + here.others
    if total:
        # Both arms had this part of all users at least, so about this part of outcomes is theirs.
        due = total * 2 * spec.schedule.stages[0].share / 100
        return _other_ids(event, here, users) if due >= EXPECTED and here.exposed < PART * due else ""
    known = {name: each.exposed + each.others for name, each in arrivals.items()}
    likely = get_close_matches(event, [name for name in known if known[name] >= LEAST_OTHERS], _SHOWN, _ALIKE)
    if likely and users >= NEAR_USERS:
        return (
            f"no outcome `{event}` has arrived since the first of {users:,} exposed users, and "
            f"{_counted(likely, known)} did: is the metric's event misspelt?"
        )
    if users < NOBODY_USERS:
        return ""
    often = sorted((name for name in known if known[name]), key=lambda name: -known[name])[:_SHOWN]
    others = f"what arrives is {_counted(often, known)}" if often else "outcomes of no other name arrive either"
    return f"no outcome `{event}` has arrived since the first of {users:,} exposed users; {others}"


def _other_ids(event: str, here: Arrived, users: int) -> str:
    return (
        f"{here.others:,} outcomes `{event}` are of users who were never exposed and {here.exposed:,} of the {users:,} "
        "who were: do outcomes carry the same user ids as rankings do, not those of a session or device, and is the "
        "pseudonym key the same?"
    )


def _no_sum(event: str, spec: ExperimentSpec, evidence: Evidence) -> str:
    """For a source that gives sums alone."""
    columns = [column.name for column in spec.columns() if column.event == event]
    sums = list(evidence.moments.values())
    users = sum(each.count for each in sums)
    told = [dict(zip(each.columns, each.sums, strict=True)) for each in sums]
    if users < NOBODY_USERS or any(each.get(name, 1) for each in told for name in columns):
        return ""
    return (
        f"{' and '.join(f'`{name}`' for name in columns)} is 0 for each of {users:,} users: does the query name the "
        f"event `{event}` as it arrives, and join by the same user ids?"
    )


def _counted(names: list[str], known: Mapping[str, int]) -> str:
    return ", ".join(f"`{name}` ({known[name]:,})" for name in names)
