"""What a Job prints, attempt by attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from serving.cluster.connection import Cluster
from serving.cluster.errors import ClusterError
from serving.cluster.jobs import end_of, read_job
from serving.cluster.status import INDEX_LABEL, pods_of

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes as a pod wrote them, wherever they end."""

    pod: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a pod's log, without its end."""

    pod: str
    line: str


def logs(
    cluster: Cluster,
    name: str,
    namespace: str,
    *,
    index: int | None = None,
    follow: bool = False,
    tail: int | None = None,
    wait_seconds: float = 300.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Piece]:
    """The newest pod's log, piece by piece; with `follow` as it is written, and that of pods that come after it.

    Args:
        index: of an Indexed Job's shard; the newest pod of all if None.
        tail: only so many last lines.
        wait_seconds: with `follow`: for a pod to start.

    Raises:
        ClusterError: no such Job or pod, it does not start, or its log cannot be read.
    """
    read_job(cluster, name, namespace)
    shown: set[str] = set()
    while True:
        pod = _next(cluster, name, namespace, index, shown)
        if pod is None and not shown and not follow:
            of = "" if index is None else f" with index {index}"
            raise ClusterError(f"Job {name} has no pod{of} (yet, or any more); see `sightline job status {name}`")
        if pod is None or (follow and pod.status.phase == "Pending"):
            if end_of(read_job(cluster, name, namespace)):
                return
            wait_seconds -= POLL_SECONDS
            if wait_seconds < 0:
                raise ClusterError(f"Job {name} has started no pod for too long; see `sightline job status {name}`")
            sleep(POLL_SECONDS)
            continue
        shown.add(pod.metadata.uid)
        yield from _log(cluster, pod, follow, tail)
        if not follow:
            return


def _next(cluster: Cluster, name: str, namespace: str, index: int | None, shown: set[str]) -> Any:
    """The newest pod; when following, the oldest of those that came after the ones that were shown."""
    pods = [
        pod
        for pod in pods_of(cluster, name, namespace)
        if index is None or (pod.metadata.labels or {}).get(INDEX_LABEL) == str(index)
    ]
    if not shown:
        return pods[-1] if pods else None
    last = max((at for at, pod in enumerate(pods) if pod.metadata.uid in shown), default=-1)
    return pods[last + 1] if last + 1 < len(pods) else None


def lines(pieces: Iterable[Piece]) -> Iterator[Line]:
    """The pieces of each pod cut into lines, each as soon as it ends; bytes that are not UTF-8 become U+FFFD."""
    for pod, of_pod in groupby(pieces, key=lambda piece: piece.pod):
        rest = b""
        for piece in of_pod:
            *whole, rest = (rest + piece.text).split(b"\n")
            yield from (Line(pod, each.decode(errors="replace")) for each in whole)
        if rest:
            yield Line(pod, rest.decode(errors="replace"))


def _log(cluster: Cluster, pod: Any, follow: bool, tail: int | None) -> Iterator[Piece]:
    name, namespace = pod.metadata.name, pod.metadata.namespace
    more = {} if tail is None else {"tail_lines": tail}
    with cluster.doing(f"read the log of pod {name} in {namespace}", "pod", name):
        answer = cluster.core.read_namespaced_pod_log(name, namespace, follow=follow, _preload_content=False, **more)
        try:
            yield from (Piece(name, text) for text in answer.stream(decode_content=False))
        finally:
            answer.release_conn()
