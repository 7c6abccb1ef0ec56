"""Ask for rankings at a steady pace until told to stop, and count what came back.

Runs as a pod of the transformer's image: a forwarded port would lead to one pod and die with it. Every HTTP request has
a connection of its own, so that each one meets the Service anew; the gRPC channel lives long, as real clients' do.
Prints one JSON document at the end. Bounded by --seconds whatever happens.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 15.0


class RefusedError(RuntimeError):
    """An answer that is no ranking; the message is what is counted."""


@dataclass
class Tally:
    """What came back over one way in."""

    ranked: int = 0
    degraded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    since: float | None = None
    longest_gap: float = 0.0

    def count(self, call: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """Make a call that says whether its ranking was degraded; its failure is counted by its kind."""
        begun = clock()
        try:
            degraded = call()
        except Exception as error:  # noqa: BLE001 - every failure is a finding
            self.failures[f"{type(error).__name__}: {error}"[:200]] += 1
            return
        ended = clock()
        self.ranked += 1
        self.degraded += degraded
        self.seconds.append(ended - begun)
        if self.since is not None:
            self.longest_gap = max(self.longest_gap, ended - self.since)
        self.since = ended

    def report(self) -> dict[str, Any]:
        """Counts, and milliseconds at the median and the 99th percentile."""
        ordered = sorted(self.seconds)
        at = {name: ordered[int(share * (len(ordered) - 1))] * 1000 for name, share in PERCENTILES} if ordered else {}
        return {
            "ranked": self.ranked,
            "degraded": self.degraded,
            "failed": sum(self.failures.values()),
            "failures": dict(self.failures),
            "longest_gap_s": round(self.longest_gap, 3),
            **{name: round(value, 1) for name, value in at.items()},
        }


PERCENTILES = (("p50_ms", 0.5), ("p99_ms", 0.99))


def over_http(url: str, model: str, user: str, items: list[str]) -> Callable[[], bool]:
    """One V1 ranking per call."""
    parts = urlsplit(url)
    body = json.dumps({"instances": [{"user_id": user, "candidates": [{"item_id": item} for item in items]}]})

    def call() -> bool:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
        try:
            connection.request("POST", f"/v1/models/{model}:predict", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RefusedError(f"{answer.status} {text[:120]!r}")
        (prediction,) = json.loads(text)["predictions"]
        if len(prediction["ranking"]) != len(items):
            raise RefusedError(f"{len(prediction['ranking'])} of {len(items)} items ranked")
        return bool(prediction["degraded"])

    return call


def over_grpc(target: str, model: str, user: str, items: list[str]) -> Callable[[], bool]:
    """One V2 ranking per call, over one channel."""
    import numpy as np
    import tritonclient.grpc as triton

    def strings(name: str, values: list[str]) -> Any:
        tensor = triton.InferInput(name, [len(values)], "BYTES")
        tensor.set_data_from_numpy(np.array([value.encode() for value in values], dtype=np.object_))
        return tensor

    inputs = [strings("user_id", [user]), strings("item_id", items)]
    client = triton.InferenceServerClient(target)

    def call() -> bool:
        answer = client.infer(model, inputs, client_timeout=TIMEOUT)
        if len(answer.as_numpy("score")) != len(items):
            raise RefusedError(f"{len(answer.as_numpy('score'))} of {len(items)} items ranked")
        return bool(answer.get_response().parameters["degraded"].string_param)

    return call


def at_a_pace(tally: Tally, call: Callable[[], bool], pause: float, over: Callable[[], bool]) -> None:
    """Make calls, one per `pause` seconds, until it is over."""
    while not over():
        begun = time.monotonic()
        tally.count(call)
        time.sleep(max(0.0, pause - (time.monotonic() - begun)))


def run(calls: dict[str, Callable[[], bool]], seconds: float, stop: Path, pause: float) -> dict[str, Any]:
    """Make all calls side by side until the file `stop` appears or the time is up."""
    begun, epoch = time.monotonic(), time.time()
    over = lambda: stop.exists() or time.monotonic() - begun > seconds  # noqa: E731
    tallies = {way: Tally() for way in calls}
    threads = [threading.Thread(target=at_a_pace, args=(tallies[way], calls[way], pause, over)) for way in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {way: tally.report() for way, tally in tallies.items()}
    return {"begun": epoch, "ended": time.time(), "stopped": stop.exists(), "ways": told}


def main() -> None:
    """Read the arguments, make the load, print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--grpc")
    parser.add_argument("--model", default="ranker")
    parser.add_argument("--user", required=True)
    parser.add_argument("--items", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pause", type=float, default=0.1)
    parser.add_argument("--stop-file", type=Path, required=True)
    given = parser.parse_args()
    items = given.items.split(",")
    calls = {"http": over_http(given.url, given.model, given.user, items)}
    if given.grpc:
        calls["grpc"] = over_grpc(given.grpc, given.model, given.user, items)
    sys.stdout.write(json.dumps(run(calls, given.seconds, given.stop_file, given.pause)) + "\n")


if __name__ == "__main__":
    main()
