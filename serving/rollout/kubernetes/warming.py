"""The first inferences of a candidate: memory is allocated and kernels are chosen before a user waits for it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import httpx

from serving.rollout.evidence.bounded import AnswerError, ask, told
from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.kubernetes.api import Object

BATCHES = (1, 16, 128, 512)
"""Candidates of a request."""
_TIMEOUT_SECONDS = 30.0
_MOST_BYTES = 4 << 20
"""Of an answer of a pod: 512 scores have some kilobytes."""
_HTTP_NAMES = ("triton-http", "http")
_HTTP_PORT = 8080


def warm(client: httpx.Client, pods: Sequence[Object], *, model: str, bundle_id: str) -> None:
    """Send every ready pod inferences of zeros in several sizes over V2 JSON, and look at what comes back.

    The client brings the key of inference over HTTP among its headers.

    Zero is a bucket of every feature (0 is padding) and a value of every dense one: the shapes are what counts.

    Raises:
        RetryError: no pod is ready, or one does not answer as it should.
        RefusedError: it serves another bundle than was verified, or its scores are not finite.
    """
    ready = [pod for pod in pods if _is_ready(pod)]
    if not ready:
        raise RetryError(f"none of the candidate's {len(pods)} pods is ready to be warmed")
    for pod in ready:
        warm_at(client, f"{_address(pod)}/v2/models/{quote(model, safe='')}", pod["metadata"]["name"], bundle_id)


def warm_at(client: httpx.Client, url: str, pod: str, bundle_id: str) -> None:
    """Warm one Triton, by the URL of its model, `http://host:port/v2/models/<model>`. Raises as `warm` does."""
    config = _answer(client, "GET", f"{url}/config", pod)
    served = (config.get("parameters") or {}).get("bundle", {}).get("string_value")
    if served != bundle_id:
        raise RefusedError(
            f"pod {pod} serves bundle {told(served, 80)}, and {bundle_id} was verified: was the entry "
            "changed in between?"
        )
    inputs = _answer(client, "GET", url, pod).get("inputs") or []
    longest = int(config.get("max_batch_size") or 0)
    for batch in sorted({min(size, longest) for size in BATCHES}) if longest else [0]:
        body = {"inputs": [_zeros(tensor, batch) for tensor in inputs]}
        _check_scores(_answer(client, "POST", f"{url}/infer", pod, body), pod, batch)


def _zeros(tensor: dict[str, Any], batch: int) -> dict[str, Any]:
    """A tensor of the metadata, filled. A dimension of -1 is the batch when it is the first, and 1 elsewhere."""
    shape = [int(size) for size in tensor["shape"]]
    fixed = [size if size >= 0 else (batch or 1) if at == 0 else 1 for at, size in enumerate(shape)]
    value = "" if tensor["datatype"] == "BYTES" else False if tensor["datatype"] == "BOOL" else 0
    return {
        "name": tensor["name"],
        "datatype": tensor["datatype"],
        "shape": fixed,
        "data": [value] * math.prod(fixed),
    }


def _check_scores(answer: Object, pod: str, batch: int) -> None:
    outputs = answer.get("outputs") or []
    numbers = [value for output in outputs for value in output.get("data") or ()]
    if len(numbers) < max(batch, 1):
        raise RetryError(f"pod {pod} gave {len(numbers)} scores for {batch} candidates of zeros")
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
        raise RefusedError(f"pod {pod} gave scores that are not finite for {batch} candidates of zeros")


def _answer(client: httpx.Client, method: str, url: str, pod: str, body: Any = None) -> Object:
    try:
        bounds: Any = {"most": _MOST_BYTES, "seconds": 2 * _TIMEOUT_SECONDS}
        answer = ask(client, method, url, **bounds, json=body, timeout=_TIMEOUT_SECONDS)
    except AnswerError as error:
        raise RetryError(f"pod {pod} at {url}: {error}") from error
    except httpx.HTTPError as error:
        raise RetryError(f"pod {pod} does not answer at {url}: {error!r}") from error
    if answer.status == 403 and method == "POST":
        raise RetryError(
            f"pod {pod} refuses inference over HTTP: its key is another than the controller's, or there is none; both "
            "read `inference` of the Secret with the collector's tokens when they start"
        )
    if answer.status != 200:
        raise RetryError(f"pod {pod} answered HTTP {answer.shown} at {url}")
    try:
        found = json.loads(answer.content)
    except ValueError as error:
        raise RetryError(f"pod {pod} answered {answer.shown} with no JSON at {url}") from error
    if not isinstance(found, dict):
        raise RetryError(f"pod {pod} answered {answer.shown} with no object at {url}")
    return found


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"] and bool(pod["status"].get("podIP"))


def _address(pod: Object) -> str:
    ports = {
        port.get("name"): int(port["containerPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
    }
    port = next((ports[name] for name in _HTTP_NAMES if name in ports), _HTTP_PORT)
    address = pod["status"]["podIP"]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
