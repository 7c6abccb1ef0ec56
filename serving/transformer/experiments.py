"""Experiments of this process put together: the watch of the assignments, each model's arms, the exposures."""

import os
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from models.experiments.assignment import Arm
from serving.transformer.arm_build import arm_build
from serving.transformer.assignment_sources import open_source
from serving.transformer.assignment_watch import AssignmentWatch
from serving.transformer.breaker import Breaker
from serving.transformer.candidate import Candidate, ReportReady
from serving.transformer.experiment import MakeCandidate, ModelExperiment
from serving.transformer.exposing import ExposureWriter, Recorder, pseudonym_key, random_id
from serving.transformer.exposures.recorder import open_recorder
from serving.transformer.metrics import Metrics
from serving.transformer.missing import MissingCaptions
from serving.transformer.ranker import Ranker
from serving.transformer.router import Router, StableCall
from serving.transformer.settings import Settings
from serving.transformer.shadow import Shadow
from serving.transformer.stores import StoreConnection


@dataclass(frozen=True, slots=True)
class Experiments:
    """What was made: `by_model` has an entry per served model; no watch and no recorders without the settings."""

    by_model: Mapping[str, ModelExperiment]
    shadows: Mapping[str, Shadow]
    watch: AssignmentWatch | None
    recorders: Mapping[str, Recorder]
    writers: Mapping[str, ExposureWriter]

    def router(self, settings: Settings, ranker: Ranker, stable: StableCall, metrics: Metrics) -> Router:
        """The router of a served model; `stable` is how its own ranker is called."""
        return Router(
            ranker.name,
            stable,
            ranker.handshake.require,
            self.by_model[ranker.name],
            self.shadows[ranker.name],
            metrics,
            exposures=self.writers.get(ranker.name),
            arm_header=settings.arm_header,
            tell_arm=settings.tell_arm,
            clock=time.monotonic,
            timeout=settings.predictor_request_timeout_seconds,
            candidate_timeout=settings.candidate_seconds,
        )

    def watches(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs beside the servers, by name."""
        recording = {f"exposures of {model}": recorder.run() for model, recorder in self.recorders.items()}
        return recording if self.watch is None else {**recording, "assignments": self.watch.watch()}

    async def close(self) -> None:
        """End shadows and candidates, let go of the assignments."""
        if self.watch is not None:
            self.watch.close()
        for shadow in self.shadows.values():
            await shadow.close()
        for experiment in self.by_model.values():
            await experiment.close()


def experiments(settings: Settings, store: StoreConnection, missing: MissingCaptions, metrics: Metrics) -> Experiments:
    """Prepare experiments on every served model. Raises ValueError or OSError for what must be corrected first."""
    arms, followed = metrics.arms, settings.assignments is not None
    by_model = {
        model: ModelExperiment(
            model,
            _making(settings, model, store, missing, metrics),
            arms,
            settled=not followed,
            retry_after=settings.retry_after_seconds,
            linger=settings.predictor_request_timeout_seconds + 1,
        )
        for model in settings.models
    }
    shadows = {m: Shadow(m, arms, limit=settings.shadow_concurrency, clock=time.monotonic) for m in settings.models}
    recorders = _recorders(settings, metrics)
    writers = _writers(settings, recorders)
    return Experiments(by_model, shadows, _watch(settings, by_model, metrics), recorders, writers)


def _making(
    settings: Settings, model: str, store: StoreConnection, missing: MissingCaptions, metrics: Metrics
) -> MakeCandidate:
    build = arm_build(settings, model, store, missing, metrics)

    def make(arm: Arm, report: ReportReady) -> Candidate:
        return Candidate(
            arm,
            build,
            Breaker(settings.candidate_failures, settings.candidate_pause_seconds, time.monotonic),
            report,
            seconds=settings.candidate_seconds,
            retry_after=settings.retry_after_seconds,
        )

    return make


def _watch(settings: Settings, by_model: Mapping[str, ModelExperiment], metrics: Metrics) -> AssignmentWatch | None:
    if settings.assignments is None:
        return None
    source = open_source(settings.assignments, os.environ)
    return AssignmentWatch(source, by_model, metrics.arms, seconds=settings.assignment_seconds, clock=time.monotonic)


def _recorders(settings: Settings, metrics: Metrics) -> dict[str, Recorder]:
    """One per model, so that what becomes of exposures is counted by model."""
    if settings.exposures is None:
        return {}
    results = ("queued", "dropped", "written", "failed")
    counted = {(m, result): metrics.arms.exposures.labels(m, result) for m in settings.models for result in results}
    waiting = dict.fromkeys(settings.models, 0)
    recorders: dict[str, Recorder] = {}
    for model in settings.models:

        def count(result: str, number: int, model: str = model) -> None:
            counted[model, result].inc(number)

        def waits(number: int, model: str = model) -> None:
            waiting[model] = number
            metrics.arms.exposures_waiting.set(sum(waiting.values()))

        recorders[model] = open_recorder(
            settings.exposures, queue=settings.exposure_queue, environment=os.environ, count=count, waiting=waits
        )
    return recorders


def _writers(settings: Settings, recorders: Mapping[str, Recorder]) -> dict[str, ExposureWriter]:
    if not recorders:
        return {}
    key = pseudonym_key(os.environ)
    return {
        model: ExposureWriter(recorder, key, items=settings.exposure_items, now=time.time, new_id=random_id)
        for model, recorder in recorders.items()
    }
