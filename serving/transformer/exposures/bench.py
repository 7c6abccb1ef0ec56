"""What an exposure costs the ranking path, and how many a second each sink takes.

    python -m serving.transformer.exposures.bench file:///tmp/exposures redis://127.0.0.1:6379/0?stream=bench

The first row is the time of `record` alone, in this thread; the others the time from the first exposure until the sink
has all of them, written and acknowledged. Nothing is asserted: the rows are printed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.experiments.events import Exposure
from serving.transformer.exposures.address import parse
from serving.transformer.exposures.recorder import open_recorder
from serving.transformer.exposures.sink import ExposureError

EXPOSURES = 20_000


@dataclass(frozen=True, slots=True)
class SinkRow:
    """One way: median, lowest, highest of the rounds, and exposures that were lost in all of them."""

    way: str
    unit: str
    median: float
    low: float
    high: float
    lost: int


def measure(uris: Sequence[str], environment: Mapping[str, str], rounds: int = 5) -> list[SinkRow]:
    """Measure `record` and each address, in turn. Raises ExposureError for an address that is none."""
    for uri in uris:
        parse(uri)
    given = [_exposure(number) for number in range(EXPOSURES)]
    rates: dict[str, list[float]] = {uri: [] for uri in uris}
    lost: Counter[str] = Counter()
    calls = []
    for _ in range(rounds):
        calls.append(_microseconds(given))
        for uri in uris:
            seconds, written = asyncio.run(_deliver(uri, environment, given))
            rates[uri].append(written / seconds)
            lost[uri] += EXPOSURES - written
    rows = [_row("record, per call", "microseconds", calls, 0)]
    return rows + [_row(uri, "exposures/s", values, lost[uri]) for uri, values in rates.items()]


def _microseconds(given: Sequence[Exposure]) -> float:
    """Of a call whose queue nobody empties."""
    recorder = open_recorder(
        "file:///tmp", queue=len(given), environment={}, count=lambda *_: None, waiting=lambda _: None
    )
    began = time.perf_counter()
    for each in given:
        recorder.record(each)
    return (time.perf_counter() - began) / len(given) * 1e6


async def _deliver(uri: str, environment: Mapping[str, str], given: Sequence[Exposure]) -> tuple[float, int]:
    """Seconds until all are written or given up, and how many were written."""
    counts: Counter[str] = Counter()
    recorder = open_recorder(
        uri,
        queue=len(given),
        environment=environment,
        count=lambda result, number: counts.update({result: number}),
        waiting=lambda _: None,
    )
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    began = time.perf_counter()
    for each in given:
        recorder.record(each)
    while counts["written"] + counts["failed"] < len(given):
        await asyncio.sleep(0.002)
    seconds = time.perf_counter() - began
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return seconds, counts["written"]


def _row(way: str, unit: str, values: list[float], lost: int) -> SinkRow:
    return SinkRow(way, unit, statistics.median(values), min(values), max(values), lost)


def _exposure(number: int) -> Exposure:
    """With the ten best items and scores, about 800 bytes of JSON."""
    return Exposure(
        id=f"{number:032x}",
        time=1.7e9 + number / 100,
        experiment="captions",
        uid="0b7c2b0e-8f5e-4b0e-9d9e-0d7e4c8a1f00",
        revision=3,
        user=f"{number:032x}",
        arm="candidate",
        served="candidate",
        model="ranker",
        bundle_id="sha256:" + "0" * 64,
        contract_digest="sha256:" + "1" * 64,
        candidates=500,
        captioned=490,
        seconds=0.0123,
        items=tuple(str(number * 31 % 100_003 + place) for place in range(10)),
        scores=tuple(1 / (place + 1.5) for place in range(10)),
    )


def main(uris: Sequence[str]) -> int:
    """Print the table; 2 without an address or with one that is none."""
    if not uris:
        sys.stderr.write("name the addresses to measure, file:///tmp/exposures for instance\n")
        return 2
    try:
        rows = measure(uris, os.environ)
    except ExposureError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for row in rows:
        figures = f"{row.median:>12,.1f} {row.low:>12,.1f} {row.high:>12,.1f} {row.unit:<14}"
        sys.stdout.write(f"{row.way:<60} {figures} lost {row.lost}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
