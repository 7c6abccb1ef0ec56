"""Training runs side by side in processes of their own, one thread each by default.

A run's bits depend on its own seed and threads only, so the results are the same whether runs go one after the other or
several at once: more workers make a recipe faster and change nothing else.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load, save

from models.contract import Contract
from models.recommender.build import build_ranker
from training.loop import Epoch, Fitted, TrainingError
from training.recipe import Recipe
from training.rows import Parts
from training.variant import TrainResult, train_encoded

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)
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


def run_jobs(
    jobs: Sequence[Job], workers: int, on_epoch: Callable[[Job, Epoch], None], on_done: Callable[[Job], None]
) -> list[TrainResult]:
    """Run all jobs and give their results in order. `on_epoch` is called with one worker only.

    Raises:
        TrainingError: a run failed, or a worker was ended from outside; the others are ended too.
    """
    if workers == 1:
        return [_alone(job, on_epoch, on_done) for job in jobs]
    with _pool(min(workers, len(jobs))) as pool:
        futures = [pool.submit(_in_worker, _light(job)) for job in jobs]
        results = []
        for job, future in zip(jobs, futures, strict=True):
            try:
                fitted, scores, weights = future.result()
            except BrokenProcessPool as error:
                raise TrainingError(
                    f"{job.label}: a training process was ended from outside (out of memory?); "
                    "free memory, or set workers: 1 in the recipe"
                ) from error
            results.append(_rebuilt(job, fitted, scores, weights))
            on_done(job)
    return results


def _alone(job: Job, on_epoch: Callable[[Job, Epoch], None], on_done: Callable[[Job], None]) -> TrainResult:
    result = _train(job, lambda epoch: on_epoch(job, epoch))
    on_done(job)
    return result


def _train(job: Job, on_epoch: Callable[[Epoch], None]) -> TrainResult:
    return train_encoded(
        job.recipe,
        job.contract,
        job.parts,
        seed=job.seed,
        checkpoint=job.checkpoint,
        identity=job.identity,
        on_epoch=on_epoch,
    )


def _in_worker(job: Job) -> tuple[Fitted, Any, bytes]:
    result = _train(job, lambda epoch: None)
    return result.fitted, result.test_scores, save(result.model.state_dict())


def _rebuilt(job: Job, fitted: Fitted, scores: Any, weights: bytes) -> TrainResult:
    model = build_ranker(job.contract, job.recipe.ranker, seed=job.seed)
    model.load_state_dict(load(weights))
    return TrainResult(job.contract, model.eval(), fitted, scores)


def _light(job: Job) -> Job:
    """Without the ids, which training does not read and which are slow to send."""
    parts = (job.parts.train, job.parts.valid, job.parts.test)
    return replace(job, parts=Parts(*(replace(part, users=_NOBODY, items=_NOBODY) for part in parts)))


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with the block, at once if it raises, and with this process, however it ends."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_on_leash)
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _on_leash() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
