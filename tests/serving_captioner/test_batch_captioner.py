from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.captioner.model import Batch, BatchCaptioner, Pixels


@dataclass
class Said:
    text: str
    finish: str = "stop"


@dataclass
class Provenance:
    captioner: str = "fake@1"
    prompt: str = "p"


@dataclass
class Grey:
    """Says the grey value; raises for value 13; forgets a caption for value 14."""

    provenance: Provenance = field(default_factory=Provenance)
    sizes: list[int] = field(default_factory=list)

    def caption(self, images: Sequence[Image.Image]) -> list[Any]:
        self.sizes.append(len(images))
        values = [image.getpixel((0, 0))[0] for image in images]
        if 13 in values:
            raise RuntimeError("unlucky")
        return [Said(f"grey {value}") for value in values if value != 14]


def call(*values: int) -> list[Pixels]:
    return [np.full((4, 6, 3), value, np.uint8) for value in values]


def ticking() -> Any:
    now = iter(range(1000))
    return lambda: float(next(now))


def texts(answer: Any) -> list[str]:
    return [result.text for result in answer.results]


def test_calls_are_captioned_in_one_batch_and_answered_apart() -> None:
    model = Grey()
    answers = BatchCaptioner(model, ticking()).caption([call(1, 2), call(3), call(4, 5, 6)])
    assert [texts(answer) for answer in answers] == [
        ["grey 1", "grey 2"],
        ["grey 3"],
        ["grey 4", "grey 5", "grey 6"],
    ]
    assert model.sizes == [6]
    assert {(answer.captioner, answer.prompt) for answer in answers} == {("fake@1", "p")}


def test_a_batch_is_reported_once() -> None:
    answers = BatchCaptioner(Grey(), ticking()).caption([call(1, 2), call(3)])
    assert [answer.batches for answer in answers] == [(Batch(3, 1.0),), ()]


def test_a_failing_call_does_not_fail_the_calls_of_its_batch() -> None:
    captioner = BatchCaptioner(Grey(), ticking())
    first, second, third = captioner.caption([call(1), call(2, 13), call(3)])
    assert (texts(first), texts(third)) == (["grey 1"], ["grey 3"])
    assert [result.failure is None for result in second.results] == [False, False]
    assert "RuntimeError" in str(second.results[0].failure)
    assert captioner.failures == 0


def test_a_captioner_that_loses_a_caption_is_a_failure_and_not_a_shifted_answer() -> None:
    (answer,) = BatchCaptioner(Grey(), ticking()).caption([call(1, 14, 3)])
    assert all(result.failure for result in answer.results)


def test_failures_in_a_row_are_counted_and_a_success_ends_the_row() -> None:
    captioner = BatchCaptioner(Grey(), ticking())
    captioner.caption([call(13)])
    captioner.caption([call(13)])
    assert captioner.failures == 2
    captioner.caption([call(1)])
    assert captioner.failures == 0


def test_it_is_busy_only_while_it_captions() -> None:
    seen: list[float | None] = []

    class Watching(Grey):
        def caption(self, images: Sequence[Image.Image]) -> list[Any]:
            seen.append(captioner.busy_since)
            return super().caption(images)

    captioner = BatchCaptioner(Watching(), ticking())
    captioner.caption([call(1)])
    assert seen == [0.0]
    assert captioner.busy_since is None


def test_warming_up_passes_the_failure_on() -> None:
    class Broken(Grey):
        def caption(self, images: Sequence[Image.Image]) -> list[Any]:
            raise RuntimeError("no device")

    with pytest.raises(RuntimeError, match="no device"):
        BatchCaptioner(Broken()).warm_up()
