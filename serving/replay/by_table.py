"""Serving by score tables: the same users, visits and faults as with real servers, thousands of times faster."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xxhash

from models.experiments.assignment import STABLE as STABLE_ARM
from models.experiments.assignment import Assignment
from serving.replay.population import DAY, SEEN, Ints, Users, Visits
from serving.replay.scores import Float32s
from serving.replay.served import CANDIDATE, OUTSIDE, STABLE, Served
from serving.replay.story import Fault, Model, Story

TYPICAL_SECONDS = 0.012
SLOW_SECONDS = 1.5
"""What a slow candidate adds."""
LOST_OF_TEN = 3
"""Of ten users of the candidate, those whose exposures a faulty logger loses."""


class TableServing:
    """Ranks by table. `rng` gives the latencies."""

    def __init__(
        self, tables: Mapping[Model, Float32s], story: Story, users: Users, visits: Visits, rng: np.random.Generator
    ) -> None:
        self._story, self._users, self._visits, self._rng = story, users, visits, rng
        self._tables = (tables[story.stable], tables[story.candidate])
        self._lost = np.array([is_lost(each) for each in users.ids])
        self._placed: tuple[Assignment | None, Ints] = (None, np.full(len(users.ids), OUTSIDE))

    def serve(self, which: slice, assignment: Assignment | None) -> Served:
        """Rank for the visits `which`."""
        users, times = self._visits.user[which], self._visits.time[which]
        arm = self._arms(assignment)[users]
        promoted = assignment is not None and assignment.everyone is not None
        asked = (arm == CANDIDATE) | promoted
        faulty = asked & (times >= self._story.fault_day * DAY)
        failed = faulty if self._story.fault is Fault.DEAD else np.zeros_like(asked)
        shown = np.where((asked & ~failed)[:, None], self._ranked(CANDIDATE, which), self._ranked(STABLE, which))
        lost = self._lost[users] & faulty if self._story.fault is Fault.DEAF_LOGGER else np.zeros_like(asked)
        slow = np.where(faulty, SLOW_SECONDS, 0.0) if self._story.fault is Fault.SLOW else 0.0
        seconds = TYPICAL_SECONDS * np.exp(self._rng.normal(0.0, 0.4, len(users))) + slow
        return Served(shown, arm, (arm != OUTSIDE) & ~lost, failed, seconds)

    def _ranked(self, arm: int, which: slice) -> Ints:
        candidates = self._visits.candidates[which]
        rows: Float32s = self._tables[arm][self._users.persona[self._visits.user[which]][:, None], candidates]
        best = np.argsort(-rows, axis=1, kind="stable")[:, :SEEN]
        shown: Ints = np.take_along_axis(candidates, best, axis=1)
        return shown

    def _arms(self, assignment: Assignment | None) -> Ints:
        """Per user STABLE, CANDIDATE or OUTSIDE; placed again when the assignment has changed."""
        if self._placed[0] != assignment:
            self._placed = (assignment, np.array([placed(assignment, each) for each in self._users.ids]))
        return self._placed[1]


def placed(assignment: Assignment | None, user_id: str) -> int:
    """The user's arm as a place."""
    place = assignment.place(user_id) if assignment is not None else None
    if place is None or not place.enrolled:
        return OUTSIDE
    return STABLE if place.arm == STABLE_ARM else CANDIDATE


def is_lost(user_id: str) -> bool:
    """Whether a faulty logger loses the user's exposures."""
    return xxhash.xxh3_64_intdigest(b"lost " + user_id.encode()) % 10 < LOST_OF_TEN
