"""The experiment on one served model's users: what is in effect now, and the candidates that it needs."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.experiments.assignment import STABLE, Arm, Assignment
from serving.transformer.arm_metrics import ArmCounters, ArmMetrics
from serving.transformer.candidate import Candidate, ReportReady
from serving.transformer.errors import NotReadyError
from serving.transformer.watching import watched

SETTLE_SECONDS = 30.0
log = logging.getLogger("sightline.transformer")

MakeCandidate = Callable[[Arm, ReportReady], Candidate]
_Key = tuple[str, str, Arm]


@dataclass(frozen=True, slots=True)
class Running:
    """An assignment, its candidates by name, and the counters of all arms, stable included."""

    assignment: Assignment
    candidates: Mapping[str, Candidate]
    counters: Mapping[str, ArmCounters]


class ModelExperiment:
    """Follows the assignments of one model.

    An assignment takes effect when each of its arms was tried once, after `settle` seconds at the latest: then users of
    an arm that works find it, and failures of one that does not are its own. Until then the earlier one stays. An
    assignment that is withdrawn is gone at once. Arms that stay the same are kept; the others are closed when the
    last answer that they may still owe is due. Lives in the event loop.
    """

    def __init__(
        self,
        model: str,
        make: MakeCandidate,
        metrics: ArmMetrics,
        *,
        settled: bool,
        retry_after: float,
        linger: float,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """`settled` False: not ready before the first `turn` has taken effect, or `settle_without`. `linger` is how
        long an arm that went is kept open, in seconds: longer than any call may last.
        """
        self.model, self._make, self._metrics, self._linger = model, make, metrics, linger
        self._settled, self._retry_after, self._settle_seconds = settled, retry_after, settle
        self.running: Running | None = None
        self._alive: dict[_Key, tuple[Candidate, asyncio.Task[None]]] = {}
        self._settling: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    def turn(self, assignment: Assignment | None) -> None:
        """Follow this assignment from now on."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if assignment is None:
            self._take_effect(None)
            return
        candidates = {arm.name: self._candidate(assignment, arm) for arm in assignment.arms}
        count = self._metrics.of_arm
        counters = {name: count(self.model, assignment.experiment, name) for name in (STABLE, *candidates)}
        following = Running(assignment, candidates, counters)
        if all(candidate.tried.is_set() for candidate in following.candidates.values()):
            self._take_effect(following)
        else:
            self._settling = watched(self._settle(following), "settling")

    def settle_without(self) -> None:
        """The assignments cannot be read: serve without them, as a store that is away takes no ranking away."""
        if self._settling is None:
            self._settled = True

    def require_settled(self) -> None:
        """Raise `NotReadyError` while a process that just started does not know its users' arms."""
        if not self._settled:
            raise NotReadyError(f"model {self.model!r}: the experiment's arms are being built", self._retry_after)

    async def close(self) -> None:
        """Close all candidates, without waiting for answers."""
        tasks = [task for _, task in self._alive.values()] + list(self._retiring)
        tasks += [] if self._settling is None else [self._settling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for candidate, _ in self._alive.values():
            await candidate.close()
        self._alive.clear()

    async def _settle(self, following: Running) -> None:
        tried = [candidate.tried.wait() for candidate in following.candidates.values()]
        try:
            async with asyncio.timeout(self._settle_seconds):
                await asyncio.gather(*tried)
        except TimeoutError:
            log.warning("experiment %s: its arms are not built yet, users get stable", following.assignment.experiment)
        self._settling = None
        self._take_effect(following)

    def _take_effect(self, running: Running | None) -> None:
        before, self.running, self._settled = self.running, running, True
        for key in set(self._alive) - _keys(running):
            self._retire(key)
        if before is not None and (running is None or running.assignment.experiment != before.assignment.experiment):
            self._metrics.forget_experiment(self.model, before.assignment.experiment)
        if running is None:
            if before is not None:
                log.info("model %s: experiment %s is over here", self.model, before.assignment.experiment)
            return
        assignment = running.assignment
        self._metrics.revision.labels(self.model, assignment.experiment).set(assignment.revision)
        log.info(
            "model %s: experiment %s, revision %d: arms %s with %d of 10000 users each, shadow %d, everyone %s",
            *(self.model, assignment.experiment, assignment.revision, ", ".join(running.candidates)),
            *(assignment.share, assignment.shadow, assignment.everyone),
        )

    def _candidate(self, assignment: Assignment, arm: Arm) -> Candidate:
        key = (assignment.uid, assignment.experiment, arm)
        if key not in self._alive:
            ready = self._metrics.ready.labels(self.model, assignment.experiment, arm.name)

            def report(is_ready: bool, reason: str) -> None:
                ready.set(1 if is_ready else 0)
                if is_ready:
                    log.info("experiment %s: arm %s is ready", assignment.experiment, arm.name)
                else:
                    log.warning("experiment %s: arm %s is not ready: %s", assignment.experiment, arm.name, reason)

            ready.set(0)
            candidate = self._make(arm, report)
            self._alive[key] = (candidate, watched(candidate.keep(), f"arm {arm.name}"))
        return self._alive[key][0]

    def _retire(self, key: _Key) -> None:
        candidate, keeping = self._alive.pop(key)
        _, experiment, arm = key
        if not any(other[1] == experiment and other[2].name == arm.name for other in self._alive):
            self._metrics.forget_arm(self.model, experiment, arm.name)
        retiring = watched(_retired(candidate, keeping, self._linger), f"end of arm {arm.name}")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)


def _keys(running: Running | None) -> set[_Key]:
    if running is None:
        return set()
    assignment = running.assignment
    return {(assignment.uid, assignment.experiment, arm) for arm in assignment.arms}


async def _retired(candidate: Candidate, keeping: asyncio.Task[None], linger: float) -> None:
    """Stop the watch, let calls in progress end, close."""
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    try:
        await asyncio.sleep(linger)
    finally:
        await candidate.close()
