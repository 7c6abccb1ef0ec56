"""Training runs side by side in processes of their own, one thread each by default.

A run's bits depend on its own seed and threads only, so the results are the same whether runs go one after the other or
several at once: more workers make a recipe faster and change nothing else.
"""

from __future__ import annotations

import multiprocessing
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load, save

from models.contract import Contract
from models.recommender.build import build_ranker
from training import leash
from training.distributed import ALONE, Group
from training.loop import Epoch, Fitted, TrainingError, TrainingStoppedError, never
from training.recipe import Recipe
from training.rows import Parts, Rows
from training.variant import TrainResult, train_encoded

POLL_SECONDS = 0.2
SAVING_SECONDS = 20.0
"""What a worker has to save its state and end; a Job's grace period is 30 s."""
_FORGETFUL = [("3", "11", str(micro)) for micro in range(5)]
_NOBODY = np.empty(0, dtype=object)


@dataclass(frozen=True, slots=True)
class Job:
    """One training run: what `training.variant.train_encoded` takes, and what to call it."""

    label: str
    recipe: Recipe
    contract: Contract
    parts: Parts
    seed: int
    checkpoint: Path | None
    identity: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Crew:
    """Who trains, and who may stop it: nothing in here changes a result.

    Attributes:
        workers: runs at the same time; one after the other where several processes share each.
        stop: asked again and again; once true, every run saves its state and ends.
    """

    workers: int = 1
    stop: Callable[[], bool] = never
    group: Group = field(default=ALONE)


def run_jobs(
    jobs: Sequence[Job], crew: Crew, on_epoch: Callable[[Job, Epoch], None], on_done: Callable[[Job], None]
) -> list[TrainResult]:
    """Run all jobs and give their results in order. `on_epoch` is called with one worker only.

    Raises:
        TrainingError: a run failed, or a worker was ended from outside; the others are ended too.
        TrainingStoppedError: the crew was asked to stop; every run that had begun has saved its state.
        RankError, RankLostError: see `training.loop.fit`.
    """
    if crew.workers == 1 or crew.group.world > 1:
        return [_alone(job, crew, on_epoch, on_done) for job in jobs]
    with _pool(min(crew.workers, len(jobs))) as (pool, workers):
        futures = [pool.submit(_in_worker, _light(job)) for job in jobs]
        results = []
        for job, future in zip(jobs, futures, strict=True):
            try:
                fitted, scores, weights = _result(future, crew.stop, workers)
            except BrokenProcessPool as error:
                raise TrainingError(
                    f"{job.label}: a training process was ended from outside (out of memory?); "
                    "free memory, or set workers: 1 in the recipe"
                ) from error
            results.append(_rebuilt(job, fitted, scores, weights))
            on_done(job)
    return results


def _alone(job: Job, crew: Crew, on_epoch: Callable[[Job, Epoch], None], on_done: Callable[[Job], None]) -> TrainResult:
    if crew.group.world == 1 and crew.stop():
        raise TrainingStoppedError(f"stopped before {job.label}")
    result = _train(job, lambda epoch: on_epoch(job, epoch), crew.stop, crew.group)
    on_done(job)
    return result


def _train(job: Job, on_epoch: Callable[[Epoch], None], stop: Callable[[], bool], group: Group = ALONE) -> TrainResult:
    try:
        return train_encoded(
            job.recipe,
            job.contract,
            job.parts,
            seed=job.seed,
            checkpoint=job.checkpoint,
            identity=job.identity,
            on_epoch=on_epoch,
            stop=stop,
            group=group,
        )
    except TrainingStoppedError as error:
        raise TrainingStoppedError(f"{job.label}: {error}") from error


def _in_worker(job: Job) -> tuple[Fitted, Any, bytes]:
    with leash.working() as asked:
        result = _train(job, lambda epoch: None, asked)
        return result.fitted, result.test_scores, save(result.model.state_dict())


def _result(
    future: Future[tuple[Fitted, Any, bytes]], stop: Callable[[], bool], workers: Callable[[], set[BaseProcess]]
) -> tuple[Fitted, Any, bytes]:
    """Wait for a run; once asked to stop, have every worker save and end."""
    while not wait([future], timeout=POLL_SECONDS).done:
        if stop():
            still = workers()
            for each in still:
                each.terminate()
            for each in still:
                each.join(SAVING_SECONDS)
            raise TrainingStoppedError(f"stopped; {len(still)} training process(es) saved their runs and ended")
    return future.result()


def _rebuilt(job: Job, fitted: Fitted, scores: Any, weights: bytes) -> TrainResult:
    model = build_ranker(job.contract, job.recipe.ranker, seed=job.seed)
    model.load_state_dict(load(weights))
    return TrainResult(job.contract, model.eval(), fitted, scores)


def _light(job: Job) -> Job:
    """Without the ids, which training does not read and which are slow to send."""

    def without_ids(rows: Rows) -> Rows:
        return replace(rows, users=_NOBODY, items=_NOBODY)

    train, valid, test = job.parts.train, job.parts.valid, job.parts.test
    return replace(job, parts=Parts(without_ids(train), without_ids(valid), without_ids(test)))


@contextmanager
def _pool(workers: int) -> Iterator[tuple[ProcessPoolExecutor, Callable[[], set[BaseProcess]]]]:
    """Worker processes that end with the block, at once if it raises, and with this process, however it ends."""
    before = set(multiprocessing.active_children())

    def ours() -> set[BaseProcess]:
        return set(multiprocessing.active_children()) - before

    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=leash.put_on)
    try:
        yield pool, ours
    except BaseException:
        for child in ours():
            child.kill()
        _let_go(pool)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _let_go(pool: ProcessPoolExecutor) -> None:
    """Free the pool's thread that sends runs to workers: with all of them gone, nobody reads what it writes.

    Early releases of Python 3.11 (Debian 12 has 3.11.2) forget to, and then wait for that thread for ever. Later ones
    do it themselves, in a thread of their own: twice at the same time would be an error there.
    """
    if platform.python_version_tuple() in _FORGETFUL:
        vars(pool)["_call_queue"]._reader.close()
