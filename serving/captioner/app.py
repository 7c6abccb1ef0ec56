"""The Ray Serve application: an ingress that admits and decodes, and a model deployment that captions.

Start it on one machine with `python -m serving.captioner.run`, or in a RayService by
`import_path: serving.captioner.app:build` with the settings as `args`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ReplicaState
from starlette.applications import Starlette

from models.captioner.presets import PRESETS
from serving.captioner.decoding import Decoder
from serving.captioner.fetch import Fetcher
from serving.captioner.gate import Gate
from serving.captioner.ingress import CaptionService, asgi
from serving.captioner.loader import loader
from serving.captioner.loopback import bind_replica_to_loopback
from serving.captioner.metrics import Meter
from serving.captioner.model import Answer, BatchCaptioner, Pixels
from serving.captioner.refusal import RequestRefused
from serving.captioner.settings import CaptionerSettings, read_settings

if TYPE_CHECKING:
    from models.captioner.caption import Captioner

Result = TypeVar("Result")
MODEL = "CaptionModel"
INGRESS = "CaptionIngress"
_HEALTH_CACHE_S = 1.0


class UnhealthyError(RuntimeError):
    """A model replica that must be replaced."""


class BatchConfig(BaseModel):
    """The model deployment's `user_config`: what may change while it runs. Closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: int = Field(ge=1, le=1024)
    batch_wait_s: float = Field(ge=0, le=5)


def _images(calls: list[list[Pixels]]) -> int:
    return sum(len(call) for call in calls)


class CaptionModel:
    """One model replica: Serve joins calls into batches, one thread runs the captioner."""

    def __init__(self, load: Callable[[], Captioner], batch_timeout_s: float, one_machine: bool) -> None:
        if one_machine:
            bind_replica_to_loopback()
        self._batch_timeout_s = batch_timeout_s
        self._max_batch_size = 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="captioner")
        self._captioner = BatchCaptioner(load())
        self._captioner.warm_up()

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take a new `user_config` without a restart."""
        batch = BatchConfig.model_validate(config)
        self._max_batch_size = batch.max_batch_size
        self._batched.set_max_batch_size(batch.max_batch_size)
        self._batched.set_batch_wait_timeout_s(batch.batch_wait_s)

    async def caption(self, images: list[Pixels]) -> Answer:
        """Caption one call's images, in batches with other calls' images."""
        size = self._max_batch_size
        parts = [images[at : at + size] for at in range(0, len(images), size)]
        answers: list[Answer] = await asyncio.gather(*(self._batched(part) for part in parts))
        return Answer(
            tuple(result for answer in answers for result in answer.results),
            answers[0].captioner,
            answers[0].prompt,
            tuple(batch for answer in answers for batch in answer.batches),
        )

    @serve.batch(batch_size_fn=_images)  # type: ignore[untyped-decorator]
    async def _batched(self, calls: list[list[Pixels]]) -> list[Answer]:
        return await self._in_thread(partial(self._captioner.caption, calls))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def check_health(self) -> None:
        """Called by Serve; an exception replaces this replica.

        After a batch in which nothing could be captioned, one grey picture decides whether the engine still
        works: pictures that it cannot digest must not restart it, a lost GPU must.
        """
        since = self._captioner.busy_since
        if since is not None:
            if time.monotonic() - since > self._batch_timeout_s:
                raise UnhealthyError(f"a batch has been running for more than {self._batch_timeout_s:g} s")
        elif self._captioner.failures:
            await self._in_thread(self._captioner.warm_up)
            self._captioner.failures = 0


class RayCaptions:
    """The model deployment behind the ingress's `Captions` protocol."""

    def __init__(self, model: DeploymentHandle, application: str, retry_after_s: int) -> None:
        self._model = model
        self._application = application
        self._retry_after_s = retry_after_s
        self._replicas = (0, float("-inf"))

    async def caption(self, images: Sequence[Pixels]) -> Answer:
        """See `Captions.caption`."""
        try:
            answer: Answer = await self._model.caption.remote(list(images))
        except BackPressureError as error:
            raise RequestRefused(
                "captioner_busy",
                503,
                "request",
                "the captioner's queue is full: retry later",
                self._retry_after_s,
            ) from error
        except (RayActorError, DeploymentUnavailableError) as error:
            reason = "the model replica went away or cannot start: retry later, see the log if it stays so"
            raise RequestRefused("captioner_unavailable", 503, "service", reason, self._retry_after_s) from error
        return answer

    async def replicas(self) -> int:
        """Running model replicas by Serve's controller, at most a second old."""
        count, at = self._replicas
        if time.monotonic() - at > _HEALTH_CACHE_S:
            count = await asyncio.to_thread(_running, self._application)
            self._replicas = (count, time.monotonic())
        return count


def _running(application: str) -> int:
    status = serve.status().applications.get(application)
    model = None if status is None else status.deployments.get(MODEL)
    return 0 if model is None else model.replica_states.get(ReplicaState.RUNNING, 0)


@serve.ingress()
class CaptionIngress:
    """One ingress replica: the ASGI application of `serving.captioner.ingress` with Ray behind it."""

    def __init__(self, model: DeploymentHandle, settings: CaptionerSettings, one_machine: bool) -> None:
        if one_machine:
            bind_replica_to_loopback()
        context = serve.get_replica_context()
        known = PRESETS.get(settings.preset)
        self._service = CaptionService(
            RayCaptions(model, context.app_name, settings.retry_after_s),
            Meter(context.replica_id.unique_id),
            Decoder(settings.limits(), settings.decode_threads),
            Fetcher(
                hosts=frozenset(settings.url_hosts),
                allow_private=settings.url_allow_private,
                max_bytes=settings.max_image_bytes,
                timeout_s=settings.url_timeout_s,
            ),
            Gate(
                settings.max_requests,
                settings.max_held_bytes,
                settings.max_held_images,
                settings.retry_after_s,
            ),
            max_request_bytes=settings.max_request_bytes,
            max_images=settings.max_images,
            call_images=settings.max_batch_size,
            body_timeout_s=settings.body_timeout_s,
            request_timeout_s=settings.request_timeout_s,
            retry_after_s=settings.retry_after_s,
            purpose=known.purpose if known else "",
        )

    def __serve_build_asgi_app__(self) -> Starlette:
        return asgi(self._service)


def build(args: dict[str, Any]) -> serve.Application:
    """The application for a Serve config file: `args` are settings by name, over the environment's.

    Raises:
        SettingsError: an unknown or unusable setting.
    """
    settings = read_settings(os.environ, args)
    return application(settings, loader(settings))


def application(
    settings: CaptionerSettings, load: Callable[[], Captioner], one_machine: bool = False
) -> serve.Application:
    """Bind both deployments.

    Args:
        settings: of the application.
        load: makes the captioner in each model replica.
        one_machine: replicas listen on the loopback address only, and the first error in loading ends the start; in a
            cluster the store of the weights may be away for a while, and Serve tries twenty times.
    """
    model = _model(settings, load_attempts=1 if one_machine else 20)
    return _ingress(settings).bind(model.bind(load, settings.batch_timeout_s, one_machine), settings, one_machine)


def _model(settings: CaptionerSettings, load_attempts: int) -> serve.Deployment:
    return serve.deployment(
        name=MODEL,
        ray_actor_options={"num_cpus": settings.model_cpus, "num_gpus": settings.model_gpus},
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": settings.target_ongoing_requests,
        },
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        user_config=BatchConfig(
            max_batch_size=settings.max_batch_size, batch_wait_s=settings.batch_wait_s
        ).model_dump(),
        graceful_shutdown_timeout_s=settings.shutdown_s,
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=5,
        health_check_timeout_s=30,
        max_constructor_retry_count=load_attempts,
    )(CaptionModel)


def _ingress(settings: CaptionerSettings) -> serve.Deployment:
    # The ingress answers a full house itself, with a typed error; Serve's own limits lie above it, so that
    # /health and /metrics are still answered then.
    return serve.deployment(
        name=INGRESS,
        num_replicas=settings.ingress_replicas,
        ray_actor_options={"num_cpus": settings.ingress_cpus},
        max_ongoing_requests=4 * settings.max_requests + 16,
        max_queued_requests=4 * settings.max_requests + 16,
        backpressure_config={"status_code": 503, "retry_after_s": settings.retry_after_s},
        graceful_shutdown_timeout_s=settings.shutdown_s,
        graceful_shutdown_wait_loop_s=0.2,
    )(CaptionIngress)
