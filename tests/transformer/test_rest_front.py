"""The front's routing, limits and headers, without processes."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from models.contract import Contract
from serving.transformer.errors import NotReadyError, PredictorDeadlineError, PredictorUnavailableError
from serving.transformer.feature_names import FeatureNames
from serving.transformer.held_bytes import HeldBytes
from serving.transformer.metrics import Metrics
from serving.transformer.request import Limits, RankRequest, RequestParser
from serving.transformer.rest import RestFront
from serving.transformer.service import Served, Service


class FakeHandshake:
    failure: Exception | None = None

    def require(self) -> None:
        if self.failure:
            raise self.failure


class World:
    """A service whose ranker raises what the test says."""

    def __init__(self, contract: Contract) -> None:
        self.registry = CollectorRegistry()
        self.handshake = FakeHandshake()
        self.failure: Exception = PredictorUnavailableError("away", 1.2)
        parser = RequestParser(FeatureNames(contract), Limits())
        served = Served(self.rank, parser, self.handshake)  # type: ignore[arg-type]
        self.service = Service({"ranker": served}, Metrics(self.registry), 2.0)
        self.front = RestFront(self.service, self.kserve, max_body_bytes=1000, held=HeldBytes(4000, 2.0))
        self.behind: list[str] = []

    async def rank(self, requests: Sequence[RankRequest], timeout: float | None, arm: str | None) -> Any:
        raise self.failure

    async def kserve(self, scope: Any, receive: Any, send: Any) -> None:
        self.behind.append(scope["path"])
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.front), base_url="http://test")

    def outcomes(self) -> dict[tuple[str, str, str], float]:
        return {
            (sample.labels["model"], sample.labels["protocol"], sample.labels["outcome"]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "sightline_requests_total"
        }


@pytest.fixture
def world(contract: Contract) -> World:
    return World(contract)


GOOD = {"instances": [{"user_id": "u", "candidates": [{"item_id": "a"}]}]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/nobody:predict", 404),
        ("POST", "/v2/models/nobody/infer", 404),
        ("POST", "/v2/models/ranker/versions/2/infer", 404),
        ("POST", "/v1/models/ranker:explain", 501),
        ("POST", "/v2/repository/models/ranker/unload", 501),
        ("POST", "/v2/repository/index", 501),
        ("GET", "/v2/models/ranker/versions/2/ready", 404),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v2/models/ranker/ready", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/health/live", 299),
        ("GET", "/metrics", 299),
        ("GET", "/v2/models/ranker", 299),
        ("GET", "/v1/models/ranker:predict", 299),
        ("DELETE", "/v2/models/ranker/infer", 299),
    ],
)
async def test_paths_go_where_they_belong(world: World, method: str, path: str, status: int) -> None:
    async with world.client() as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert (world.behind == [path]) is (status == 299)


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (PredictorUnavailableError("away", 1.2), 503, "2"),
        (NotReadyError("another contract", 0.5), 503, "1"),
        (PredictorDeadlineError("slow", 2.0), 504, "2"),
    ],
)
async def test_failures_of_triton_have_status_and_retry_after(
    world: World, failure: Any, status: int, retry_after: str
) -> None:
    world.failure = failure
    async with world.client() as client:
        response = await client.post("/v1/models/ranker:predict", json=GOOD)
    assert (response.status_code, response.headers["retry-after"]) == (status, retry_after)
    assert response.json() == {"error": failure.message}


async def test_calls_are_counted_by_outcome_and_an_unknown_name_is_no_label(world: World) -> None:
    async with world.client() as client:
        await client.post("/v1/models/ranker:predict", json=GOOD)
        await client.post("/v1/models/ranker:predict", json={})
        for i in range(3):
            await client.post(f"/v1/models/guess-{i}:predict", json=GOOD)
    assert world.outcomes() == {
        ("ranker", "v1", "predictor_unavailable"): 1,
        ("ranker", "v1", "invalid"): 1,
        ("", "v1", "unknown_model"): 3,
    }


async def test_a_body_over_the_limit_is_refused_before_it_is_read(world: World) -> None:
    async def endless() -> Any:
        while True:
            yield b"x" * 400

    async with world.client() as client:
        declared = await client.post("/v1/models/ranker:predict", content=b"x" * 1001)
        streamed = await client.post("/v1/models/ranker:predict", content=endless())
    assert (declared.status_code, streamed.status_code) == (413, 413)
    assert "1001 bytes; expected at most 1000 bytes" in declared.json()["error"]


async def test_readiness_names_the_reason_and_a_drain_ends_it(world: World) -> None:
    async with world.client() as client:
        world.handshake.failure = NotReadyError("model 'ranker' is not ready: why", 2.0)
        response = await client.get("/v2/health/ready")
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert response.json()["error"] == "model 'ranker' is not ready: why"
        world.handshake.failure = None
        world.service.drain()
        assert "shutting down" in (await client.get("/v2/health/ready")).json()["error"]
        assert (await client.get("/v2/models/ranker/ready")).status_code == 503
