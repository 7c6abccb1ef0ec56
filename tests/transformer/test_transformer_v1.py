"""V1 JSON over real HTTP, a real transformer and a real Triton."""

from typing import Any

import httpx


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
