"""Ask the transformer over REST: KServe's V1 and the Open Inference Protocol as JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import orjson

from serving.check.findings import CheckFailedError
from serving.check.question import Answer, Question

V1, V2 = "V1 REST", "V2 REST"
_AGAIN = {httpx.codes.NOT_FOUND, httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS}
"""Refusals that pass: a gateway answers 404 until its route is programmed."""


def ask_v1(url: str, question: Question, timeout: float) -> Answer:
    """The answer of `POST /v1/models/<model>:predict`; raises `CheckFailedError`."""
    candidates = [{"item_id": item} for item in question.items]
    body = {"instances": [{"user_id": question.user_id, "candidates": candidates}]}
    return _asked(f"{url}/v1/models/{question.model}:predict", body, timeout, lambda told: _from_v1(question, told))


def ask_v2(url: str, question: Question, timeout: float) -> Answer:
    """The answer of `POST /v2/models/<model>/infer` with JSON tensors; raises `CheckFailedError`."""
    body = {"inputs": [_strings("user_id", [question.user_id]), _strings("item_id", question.items)]}
    return _asked(f"{url}/v2/models/{question.model}/infer", body, timeout, _from_v2)


def get_json(url: str, timeout: float) -> Any:
    """The JSON document at an address; raises `CheckFailedError`."""
    return _answered("GET", url, None, timeout)


def _asked(url: str, body: Mapping[str, Any], timeout: float, read: Callable[[Any], Answer]) -> Answer:
    told = _answered("POST", url, body, timeout)
    try:
        return read(told)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckFailedError(
            f"POST {url}: the answer is no ranking ({error!r}): {str(told)[:300]}; is it the transformer's address?",
            final=True,
        ) from error


def _answered(method: str, url: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
    try:
        response = httpx.request(method, url, json=body, timeout=timeout, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CheckFailedError(f"{method} {url}: {error or type(error).__name__}; is its pod ready?") from error
    if response.status_code != httpx.codes.OK:
        final = response.is_client_error and response.status_code not in _AGAIN
        raise CheckFailedError(f"{method} {url}: {response.status_code} {response.text[:1000]}", final=final)
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise CheckFailedError(f"{method} {url}: no JSON but {response.text[:200]!r}; check the address") from error


def _from_v1(question: Question, told: Any) -> Answer:
    (prediction,) = told["predictions"]
    ranking = prediction["ranking"]
    entries = {entry["item_id"]: entry for entry in ranking}
    in_order = [entries[item] for item in question.items]
    place = {item: position for position, item in enumerate(question.items)}
    return Answer(
        V1,
        scores=[float(entry["score"]) for entry in in_order],
        order=[place[entry["item_id"]] for entry in ranking],
        caption_known=[entry["caption"] != "missing" for entry in in_order],
        item_known=[entry["item"] == "known" for entry in in_order],
        user_known=bool(prediction["user_known"]),
        degraded=prediction["degraded"],
        contract_digest=prediction.get("contract_digest", ""),
    )


def _from_v2(told: Any) -> Answer:
    tensors = {tensor["name"]: tensor["data"] for tensor in told["outputs"]}
    parameters = told["parameters"]
    return Answer(
        V2,
        scores=[float(score) for score in tensors["score"]],
        order=tensors["order"],
        caption_known=tensors["caption_known"],
        item_known=tensors["item_known"],
        user_known=bool(parameters["user_known"]),
        degraded=[reason for reason in parameters["degraded"].split(",") if reason],
        contract_digest=parameters.get("contract_digest", ""),
    )


def _strings(name: str, values: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(values)], "data": list(values)}
