"""The real server with a captioner of the tests' own: `python fake_captioner_server.py --port PORT [--flag value ...]`.

The fake reads each picture's top left pixel: (255, 0, 0) raises, (0, 255, 0) takes half a second, (0, 0,
255) ends the replica's process, anything else is told back as a caption.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from serving.captioner.run import serve_until_signal
from serving.captioner.settings import MachineSettings, read_machine, read_settings


@dataclass(frozen=True)
class FakeCaption:
    text: str
    finish: str


@dataclass(frozen=True)
class FakeProvenance:
    captioner: str
    prompt: str


class FakeCaptioner:
    provenance = FakeProvenance("fake@1", "what is in the corner?")

    def caption(self, images: Sequence[Image.Image]) -> list[FakeCaption]:
        return [self._one(image) for image in images]

    def _one(self, image: Image.Image) -> FakeCaption:
        corner = image.getpixel((0, 0))
        if corner == (255, 0, 0):
            raise RuntimeError("this captioner cannot stand red")
        if corner == (0, 255, 0):
            time.sleep(0.5)
        if corner == (0, 0, 255):
            os._exit(1)
        return FakeCaption(f"a {image.width} by {image.height} picture with the corner {corner}", "stop")


if __name__ == "__main__":
    pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    arguments: dict[str, object] = {name.removeprefix("--").replace("-", "_"): value for name, value in pairs}
    machine = {name: value for name, value in arguments.items() if name in MachineSettings.model_fields}
    settings = {name: value for name, value in arguments.items() if name not in machine}
    serve_until_signal(read_machine({}, machine), read_settings({}, settings), FakeCaptioner)
