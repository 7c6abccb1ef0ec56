"""V1 JSON over real HTTP, a real transformer and a real Triton."""

import json
from typing import Any

import httpx
import pytest

from tests.http_server.raw_http import ask as answer_to
from tests.http_server.raw_http import parts


def predict(transformer: Any, instance: dict[str, Any], model: str = "ranker") -> httpx.Response:
    return httpx.post(f"{transformer.url}/v1/models/{model}:predict", json={"instances": [instance]})


def ask(transformer: Any, instance: dict[str, Any], model: str = "ranker") -> dict[str, Any]:
    response = predict(transformer, instance, model)
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["predictions"]
    return prediction


def candidates(*item_ids: str) -> list[dict[str, str]]:
    return [{"item_id": item_id} for item_id in item_ids]


def test_candidates_come_back_in_rank_order_with_what_was_known(transformer: Any, contract: Any) -> None:
    found = ask(
        transformer,
        {
            "user_id": "196",
            "context": {"hour": 20, "weekday": 5},
            "candidates": [*candidates("1", "7", "nobody"), {"item_id": "x", "caption": "a red car"}],
        },
    )
    assert found["user_known"] is True
    assert found["model"] == "ranker"
    assert found["contract_digest"] == contract.digest
    assert found["degraded"] == []
    ranking = found["ranking"]
    assert [entry["rank"] for entry in ranking] == [1, 2, 3, 4]
    scores = [entry["score"] for entry in ranking]
    assert scores == sorted(scores, reverse=True)
    about = {entry["item_id"]: (entry["caption"], entry["item"]) for entry in ranking}
    assert about == {
        "1": ("known", "known"),
        "7": ("missing", "known"),
        "nobody": ("missing", "unknown"),
        "x": ("inline", "unknown"),
    }


def test_an_unknown_user_is_served_and_said_to_be_unknown(transformer: Any) -> None:
    found = ask(transformer, {"user_id": "stranger", "candidates": candidates("1", "2")})
    assert found["user_known"] is False
    assert len(found["ranking"]) == 2


@pytest.mark.parametrize("cut", [None, 60, -10])
def test_a_client_that_offers_http_2_gets_its_ranking(transformer: Any, cut: int | None) -> None:
    """As curl --http2, Java's and .NET's clients do; httptools loses the body of such a request."""
    body = json.dumps({"instances": [{"user_id": "196", "candidates": candidates("1", "2")}]}).encode()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n"
    head = b"POST /v1/models/ranker:predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n" + offer
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    status, _, content = parts(
        answer_to(transformer.http_port, *([request] if cut is None else [request[:cut], request[cut:]]))
    )
    assert (status, len(json.loads(content)["predictions"][0]["ranking"])) == (200, 2)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX:", 408),
        (b"POST /v1/models/ranker:predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ],
)
def test_what_is_no_request_is_refused_as_the_protocol_refuses(transformer: Any, request_: bytes, status: int) -> None:
    found, headers, content = parts(answer_to(transformer.http_port, request_))
    assert (found, headers["content-type"]) == (status, "application/json")
    assert isinstance(json.loads(content)["error"], str)
