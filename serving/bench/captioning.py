"""Captions a second: one picture at a time, batches in this process, and through Ray Serve; in turn, in one run."""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from models.captioner.llava import LlavaCaptioner
from models.captioner.presets import preset
from serving.captioner.client import CaptionClient

BASELINE = "in process, one at a time"


@dataclass(frozen=True)
class CaptioningRow:
    """One way: captions a second (median, lowest, highest round), and the ratio to the baseline's median."""

    way: str
    median: float
    low: float
    high: float
    ratio: float


def measure_captioning(url: str, posters: Sequence[Path], rounds: int = 5) -> list[CaptioningRow]:
    """Measure on encoded pictures; decoding is part of every way.

    Args:
        url: a running captioning service with the tiny preset.
        posters: image files; the one-at-a-time way takes a quarter of them.
    """
    captioner = LlavaCaptioner.load(preset("tiny"))
    data = [path.read_bytes() for path in posters]
    few = data[: max(1, len(data) // 4)]
    client = CaptionClient(url)

    def alone() -> int:
        return sum(len(captioner.caption([_picture(each)])) for each in few)

    ways: dict[str, Callable[[], int]] = {
        BASELINE: alone,
        "in process, batches": lambda: len(captioner.caption([_picture(each) for each in data])),
        "through Ray Serve": lambda: len(client.caption([(str(n), each) for n, each in enumerate(data)])),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            began = time.perf_counter()
            rates[way].append(run() / (time.perf_counter() - began))
    base = statistics.median(rates[BASELINE])
    return [
        CaptioningRow(way, statistics.median(each), min(each), max(each), statistics.median(each) / base)
        for way, each in rates.items()
    ]


def _picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
