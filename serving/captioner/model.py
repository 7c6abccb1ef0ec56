"""The captioning side of the service without Ray: pictures as arrays in, captions or typed failures out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from models.captioner.caption import Captioner

logger = logging.getLogger("ray.serve")
Pixels: TypeAlias = npt.NDArray[np.uint8]  # [height, width, 3], RGB


@dataclass(frozen=True, slots=True)
class Captioned:
    """One image's result: `text` and `finish`, or `failure`, a sentence that says why there is none."""

    text: str
    finish: str
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of the model took; reported with exactly one of the answers it produced."""

    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The results of one call of the service's model side, in the order of its images."""

    results: tuple[Captioned, ...]
    captioner: str
    prompt: str
    batches: tuple[Batch, ...]


class BatchCaptioner:
    """Captions calls of several images together and keeps one call's failure away from the others.

    Not thread-safe: one thread calls `caption`. `busy_since` and `failures` may be read from anywhere.
    """

    def __init__(self, captioner: Captioner, clock: Callable[[], float] = time.monotonic) -> None:
        self._captioner = captioner
        self._clock = clock
        self.busy_since: float | None = None
        self.failures = 0

    def warm_up(self) -> None:
        """Caption one grey picture, so that a replica that cannot work never becomes ready."""
        self._captioner.caption([Image.new("RGB", (64, 64), (128, 128, 128))])

    def caption(self, calls: Sequence[Sequence[Pixels]]) -> list[Answer]:
        """Caption all images of all `calls` in one batch; one answer per call.

        When the batch fails and holds several calls, each call is tried alone once, so that a call fails
        only by its own images. `failures` counts batches in a row in which nothing could be captioned.
        """
        self.busy_since = self._clock()
        try:
            answers = self._together(calls)
        finally:
            self.busy_since = None
        worked = any(result.failure is None for answer in answers for result in answer.results)
        self.failures = 0 if worked else self.failures + 1
        return answers

    def _together(self, calls: Sequence[Sequence[Pixels]]) -> list[Answer]:
        started = self._clock()
        pictures = [Image.fromarray(pixels) for call in calls for pixels in call]
        try:
            captions = self._captioner.caption(pictures)
            if len(captions) != len(pictures):
                raise RuntimeError(f"the captioner gave {len(captions)} captions for {len(pictures)} images")
        except Exception as error:  # the captioner is any engine (torch, CUDA, vLLM): its errors have no common class
            logger.exception("a batch of %d images in %d calls failed", len(pictures), len(calls))
            batch = Batch(len(pictures), self._clock() - started)
            if len(calls) > 1:
                return self._apart(calls, batch)
            return [self._failed(len(calls[0]), error, batch)]
        results = [Captioned(caption.text, caption.finish) for caption in captions]
        return self._split(calls, results, Batch(len(pictures), self._clock() - started))

    def _apart(self, calls: Sequence[Sequence[Pixels]], batch: Batch) -> list[Answer]:
        answers = [self._together([call])[0] for call in calls]
        first = answers[0]
        return [Answer(first.results, first.captioner, first.prompt, (batch, *first.batches)), *answers[1:]]

    def _failed(self, images: int, error: Exception, batch: Batch) -> Answer:
        reason = f"the captioner failed on this batch of {batch.images} images ({type(error).__name__})"
        return self._answer((Captioned("", "", reason),) * images, (batch,))

    def _split(self, calls: Sequence[Sequence[Pixels]], results: list[Captioned], batch: Batch) -> list[Answer]:
        answers, at = [], 0
        for number, call in enumerate(calls):
            part = tuple(results[at : at + len(call)])
            answers.append(self._answer(part, (batch,) if number == 0 else ()))
            at += len(call)
        return answers

    def _answer(self, results: tuple[Captioned, ...], batches: tuple[Batch, ...]) -> Answer:
        provenance = self._captioner.provenance
        return Answer(results, provenance.captioner, provenance.prompt, batches)
