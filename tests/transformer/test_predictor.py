"""The client of Triton against a gRPC server that misbehaves, and the handshake against any ModelConfig."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import Contract
from serving.transformer import wire
from serving.transformer.errors import (
    NotReadyError,
    PredictorAnswerError,
    PredictorDeadlineError,
    PredictorUnavailableError,
)
from serving.transformer.handshake import Handshake, Verdict, mismatches
from serving.transformer.predictor import Predictor, channel_target, open_channel
from serving.transformer.ranking import best_first

TENSORS = {"dense": np.array([[1.0], [2.0]], np.float32), "categorical": np.array([[3], [4]], np.int64)}


class Triton(grpc.GenericRpcHandler):
    """Answers ModelInfer with what `replies` says, one after the other, the last for ever."""

    def __init__(self) -> None:
        self.replies: list[Callable[[Any, Any], Awaitable[Any]]] = []
        self.requests: list[Any] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/inference.GRPCInferenceService/ModelInfer":
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._infer,
            request_deserializer=wire.ModelInferRequest.FromString,
            response_serializer=wire.ModelInferResponse.SerializeToString,
        )

    async def _infer(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return await reply(request, context)


def scores(*values: float, **changes: Any) -> Callable[[Any, Any], Awaitable[Any]]:
    raw = changes.pop("raw", np.array(values, "<f4").tobytes())
    output = {"name": "score", "datatype": "FP32", "shape": [len(values), 1], **changes}

    async def reply(request: Any, context: Any) -> Any:
        return wire.ModelInferResponse(model_version="4", outputs=[output], raw_output_contents=[raw])

    return reply


def failure(code: grpc.StatusCode) -> Callable[[Any, Any], Awaitable[Any]]:
    async def reply(request: Any, context: Any) -> Any:
        await context.abort(code, "said Triton")

    return reply


async def never(request: Any, context: Any) -> Any:
    await asyncio.sleep(30)


@pytest.fixture
async def triton() -> AsyncIterator[tuple[Triton, Predictor]]:
    handler = Triton()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = open_channel(f"127.0.0.1:{port}", 1 << 20)
    loop = asyncio.get_running_loop()
    yield handler, Predictor(channel, retries=3, retry_after=2.0, clock=loop.time, uniform=lambda a, b: a)
    await channel.close()
    await server.stop(0)


def soon(seconds: float = 2.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_tensors_are_sent_raw_and_scores_come_back(triton: Any) -> None:
    handler, predictor = triton
    handler.replies = [scores(0.25, 0.75)]
    answer = await predictor.score("ranker", TENSORS, soon())
    assert (answer.scores.tolist(), answer.model_version) == ([0.25, 0.75], "4")
    (request,) = handler.requests
    assert request.model_name == "ranker"
    assert [(i.name, i.datatype, list(i.shape)) for i in request.inputs] == [
        ("dense", "FP32", [2, 1]),
        ("categorical", "INT64", [2, 1]),
    ]
    assert list(request.raw_input_contents) == [tensor.tobytes() for tensor in TENSORS.values()]


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_a_proxy_of_the_environment_is_not_asked_for_triton(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, server = Triton(), grpc.aio.server()
    handler.replies = [scores(0.25, 0.75)]
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with open_channel(f"127.0.0.1:{port}", 1 << 20) as channel:
        clock = asyncio.get_running_loop().time
        predictor = Predictor(channel, retries=0, retry_after=2.0, clock=clock, uniform=lambda a, b: a)
        assert (await predictor.score("ranker", TENSORS, soon(10.0))).scores.tolist() == [0.25, 0.75]
    await server.stop(0)


async def test_unavailable_is_asked_again_within_the_retries(triton: Any) -> None:
    handler, predictor = triton
    handler.replies = [failure(grpc.StatusCode.UNAVAILABLE)] * 2 + [scores(0.25, 0.75)]
    assert (await predictor.score("ranker", TENSORS, soon())).scores.tolist() == [0.25, 0.75]
    assert len(handler.requests) == 3


async def test_a_triton_that_stays_away_is_unavailable(triton: Any) -> None:
    handler, predictor = triton
    handler.replies = [failure(grpc.StatusCode.UNAVAILABLE)]
    with pytest.raises(PredictorUnavailableError, match=r"said Triton; try again in 2 s") as raised:
        await predictor.score("ranker", TENSORS, soon())
    assert raised.value.retry_after == 2.0
    assert len(handler.requests) == 4


async def test_a_pause_that_would_pass_the_deadline_is_not_taken(triton: Any) -> None:
    handler, predictor = triton
    handler.replies = [failure(grpc.StatusCode.UNAVAILABLE)]
    predictor._uniform = lambda low, high: 60.0
    with pytest.raises(PredictorUnavailableError):
        await predictor.score("ranker", TENSORS, soon(20))
    assert len(handler.requests) == 1


async def test_a_slow_triton_exceeds_the_deadline(triton: Any) -> None:
    handler, predictor = triton
    handler.replies = [never]
    with pytest.raises(PredictorDeadlineError):
        await predictor.score("ranker", TENSORS, soon(0.05))
    with pytest.raises(PredictorDeadlineError, match="no time was left"):
        await predictor.score("ranker", TENSORS, soon(-1))


async def test_a_lost_model_is_unavailable_and_a_refusal_is_not_repeated(triton: Any) -> None:
    handler, predictor = triton
    handler.replies = [failure(grpc.StatusCode.NOT_FOUND)]
    with pytest.raises(PredictorUnavailableError):
        await predictor.score("ranker", TENSORS, soon())
    handler.replies = [failure(grpc.StatusCode.INVALID_ARGUMENT)]
    with pytest.raises(PredictorAnswerError, match="INVALID_ARGUMENT"):
        await predictor.score("ranker", TENSORS, soon())
    assert len(handler.requests) == 2


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (scores(0.5), r"FP32 \[1, 1\] in 4 bytes; expected FP32 \[2\]"),
        (scores(0.5, 0.5, name="prob"), r"outputs \['prob'\]; expected 'score'"),
        (scores(0.5, 0.5, datatype="FP64"), "score is FP64"),
        (scores(float("nan"), 0.5), "1 of 2 scores are not finite"),
    ],
)
async def test_an_answer_that_is_no_scores_is_refused(triton: Any, reply: Any, says: str) -> None:
    handler, predictor = triton
    handler.replies = [reply]
    with pytest.raises(PredictorAnswerError, match=says):
        await predictor.score("ranker", TENSORS, soon())


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("ranker-predictor.default", "dns:///ranker-predictor.default:80"),
        ("127.0.0.1:8101", "dns:///127.0.0.1:8101"),
        ("[::1]:8101", "dns:///[::1]:8101"),
        ("[::1]", "dns:///[::1]:80"),
        ("dns:///a:1", "dns:///a:1"),
        ("unix:/run/triton.sock", "unix:/run/triton.sock"),
    ],
)
def test_a_host_becomes_a_target_that_looks_up_every_address(host: str, target: str) -> None:
    assert channel_target(host) == target


def config(contract: Contract, **changes: Any) -> Any:
    types = {"float32": 11, "int64": 9}
    inputs = [{"name": s.name, "data_type": types[s.dtype], "dims": s.shape[1:]} for s in contract.tensors]
    given = {
        "max_batch_size": 4096,
        "input": inputs,
        "output": [{"name": "score", "data_type": 11, "dims": [1]}],
        "parameters": [{"key": "contract_digest", "value": {"string_value": contract.digest}}],
        **changes,
    }
    return wire.ModelConfigResponse(config=given).config


def test_a_config_of_our_contract_has_no_mismatch(contract: Contract) -> None:
    assert mismatches(config(contract), contract, 1000) == []


def test_every_difference_is_named(contract: Contract) -> None:
    other = [{"key": "contract_digest", "value": {"string_value": "sha256:other"}}]
    (said,) = mismatches(config(contract, parameters=other), contract, 10)
    assert "sha256:other" in said
    assert contract.digest in said
    (said,) = mismatches(config(contract, parameters=[]), contract, 10)
    assert "serves contract unknown" in said
    (said,) = mismatches(config(contract, max_batch_size=100), contract, 1000)
    assert "max_batch_size is 100, requests may have 1000 candidates: lower --max_candidates" in said
    said = "; ".join(mismatches(config(contract, input=[{"name": "dense", "data_type": 9, "dims": [2]}]), contract, 10))
    assert "input 'dense' is INT64 [2] per row, expected FP32 [2] per row" in said
    assert "input 'caption' is absent" in said
    (said,) = mismatches(config(contract, output=[]), contract, 10)
    assert "output 'score' is absent" in said


class Source:
    """A predictor whose model the test changes."""

    def __init__(self, config: Any) -> None:
        self.config_now, self.is_ready, self.asked = config, True, 0
        self.failure: Exception | None = None

    async def ready(self, model: str, deadline: float) -> bool:
        self.asked += 1
        if self.failure:
            raise self.failure
        return self.is_ready

    async def config(self, model: str, deadline: float) -> Any:
        return self.config_now


def handshake(source: Source, contract: Contract, reports: list[Verdict], **more: Any) -> Handshake:
    return Handshake(
        "ranker",
        contract,
        source,
        rows=1000,
        clock=lambda: 0.0,
        report=lambda _, verdict: reports.append(verdict),
        retry_after=2.0,
        **more,
    )


async def test_nothing_is_ready_before_the_first_check(contract: Contract) -> None:
    made = handshake(Source(config(contract)), contract, [])
    with pytest.raises(NotReadyError, match="was not asked yet; try again in 2 s"):
        made.require()
    assert (await made.check()).ready
    made.require()


async def test_an_answer_of_a_new_version_is_checked_before_it_is_believed(contract: Contract) -> None:
    """Another bundle was placed between two checks: its scores must not come out, not even once."""
    source = Source(config(contract))
    made = handshake(source, contract, [])
    await made.check()
    await made.confirm("1")
    asked = source.asked
    await made.confirm("1")
    assert source.asked == asked, "a version that was confirmed costs nothing"
    other = [{"key": "contract_digest", "value": {"string_value": "sha256:other"}}]
    source.config_now = config(contract, parameters=other)
    with pytest.raises(NotReadyError, match="sha256:other"):
        await made.confirm("2")
    with pytest.raises(NotReadyError):
        made.require()


async def test_after_a_doubt_even_a_known_version_is_checked_again(contract: Contract) -> None:
    source = Source(config(contract))
    made = handshake(source, contract, [])
    await made.check()
    await made.confirm("1")
    made.doubt()
    source.config_now = config(contract, parameters=[])
    with pytest.raises(NotReadyError):
        await made.confirm("1")


async def test_the_watch_reports_changes_only_and_hurries_while_not_ready(contract: Contract) -> None:
    source, reports, pauses = Source(config(contract)), [], []
    source.failure = PredictorUnavailableError("Triton is away")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            source.failure = None
        if len(pauses) == 4:
            source.is_ready = False
        if len(pauses) == 6:
            raise asyncio.CancelledError

    made = handshake(source, contract, reports, interval=5.0, interval_unready=0.5, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await made.watch()
    assert pauses == [0.5, 0.5, 5.0, 5.0, 0.5, 0.5]
    assert [verdict.ready for verdict in reports] == [False, True, False]


@given(st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.0, -0.0, 0.5]), max_size=50))
def test_the_order_is_by_falling_score_and_ties_keep_the_requests_order(values: list[float]) -> None:
    found = best_first(np.array(values, np.float32)).tolist()
    assert found == sorted(range(len(values)), key=lambda i: (-values[i], i))
