"""The Open Inference Protocol, spoken by Triton's own clients and by plain HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from models.contract import CaptionTokenizer, Contract, encode
from models.export.onnx import torch_scores
from models.items import ItemRow
from models.version import project_version

ITEMS = ["1", "7", "13", "599", "nobody", "new"]
CAPTIONS = ["", "", "", "", "", "a red car in the snow"]
CONTEXT = {"hour": 20, "weekday": 5}


@pytest.fixture(scope="module")
def over_http(transformer: Any) -> Iterator[Any]:
    with triton_http.InferenceServerClient(f"127.0.0.1:{transformer.http_port}") as client:
        yield client


@pytest.fixture(scope="module")
def over_grpc(transformer: Any) -> Iterator[Any]:
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{transformer.grpc_port}") as client:
        yield client


def strings(values: list[str]) -> np.ndarray:
    return np.array([value.encode() for value in values], np.object_)


def inputs(kind: Any, binary: bool | None = None, **values: list[str]) -> list[Any]:
    made = []
    for name, given in values.items():
        made.append(kind.InferInput(name, [len(given)], "BYTES"))
        made[-1].set_data_from_numpy(strings(given), **({} if binary is None else {"binary_data": binary}))
    return made


def asked(**more: list[str]) -> dict[str, list[str]]:
    return {"user_id": ["196"], "item_id": ITEMS, "caption": CAPTIONS, "context": [json.dumps(CONTEXT)], **more}


def expected_tensors(contract: Contract, tokenizer: CaptionTokenizer, rows: list[ItemRow]) -> dict[str, np.ndarray]:
    """What training's own path makes of the same rows: whole columns at once, no cache, no store."""
    stored = {row.item_id: row for row in rows}
    texts: list[str | None] = []
    for item_id, inline in zip(ITEMS, CAPTIONS, strict=True):
        row = stored.get(item_id)
        texts.append(inline or (row.caption.text if row and row.caption else None))
    columns = {
        "user_id": ["196"] * len(ITEMS),
        "gender": ["M"] * len(ITEMS),
        "age": [49.0] * len(ITEMS),
        "item_id": ITEMS,
        "popularity": [stored[i].features["popularity"] if i in stored else None for i in ITEMS],
        "hour": [20] * len(ITEMS),
        "weekday": [5] * len(ITEMS),
    }
    tokens = [None if text is None else tokenizer.encode([text])[0] for text in texts]
    return {name: tensor.copy() for name, tensor in encode(contract, columns, tokens).items()}


@pytest.fixture(scope="module")
def expected(contract: Contract, tokenizer: CaptionTokenizer, rows: list[ItemRow], with_captions: Any) -> np.ndarray:
    """PyTorch's scores, which onnxruntime on the bundle's file confirms."""
    tensors = expected_tensors(contract, tokenizer, rows)
    session = onnxruntime.InferenceSession(with_captions.bundle.onnx_path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["score"], tensors)
    torch = torch_scores(with_captions.model, tensors)
    np.testing.assert_allclose(scores, torch, atol=1e-5)
    assert np.ptp(torch) > 0.05, "the random ranker must tell these items apart"
    return torch


def check(result: Any, expected: np.ndarray) -> None:
    scores = result.as_numpy("score")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    order = result.as_numpy("order")
    assert order.dtype == np.int64
    assert order.tolist() == np.argsort(-scores, kind="stable").tolist()
    assert result.as_numpy("caption_known").tolist() == [True, False, True, True, False, True]
    assert result.as_numpy("item_known").tolist() == [True, True, True, True, False, False]


def test_grpc_gives_the_scores_of_onnxruntime_and_pytorch(over_grpc: Any, expected: np.ndarray) -> None:
    result = over_grpc.infer("ranker", inputs(triton_grpc, **asked()), request_id="r1")
    check(result, expected)
    response = result.get_response()
    assert response.id == "r1"
    assert response.parameters["user_known"].bool_param is True
    assert response.parameters["degraded"].string_param == ""


@pytest.mark.parametrize("binary", [True, False])
def test_rest_gives_the_same_scores_as_binary_data_and_as_json(
    over_http: Any, expected: np.ndarray, contract: Contract, binary: bool
) -> None:
    outputs = [
        triton_http.InferRequestedOutput(name, binary_data=binary)
        for name in ("score", "order", "caption_known", "item_known")
    ]
    result = over_http.infer("ranker", inputs(triton_http, binary, **asked()), outputs=outputs, request_id="r2")
    check(result, expected)
    assert result.get_response()["id"] == "r2"
    assert result.get_response()["parameters"]["contract_digest"] == contract.digest


def test_rest_gives_binary_data_without_named_outputs_as_tritons_client_asks(over_http: Any, expected: Any) -> None:
    result = over_http.infer("ranker", inputs(triton_http, **asked()))
    check(result, expected)
    assert "binary_data_size" in result.get_response()["outputs"][0]["parameters"]


def test_v1_gives_the_same_scores(transformer: Any, expected: np.ndarray) -> None:
    candidates = [
        {"item_id": item_id, **({"caption": caption} if caption else {})}
        for item_id, caption in zip(ITEMS, CAPTIONS, strict=True)
    ]
    body = {"instances": [{"user_id": "196", "context": CONTEXT, "candidates": candidates}]}
    response = httpx.post(f"{transformer.url}/v1/models/ranker:predict", json=body)
    ranking = response.json()["predictions"][0]["ranking"]
    found = {entry["item_id"]: entry["score"] for entry in ranking}
    np.testing.assert_allclose([found[item_id] for item_id in ITEMS], expected, atol=1e-5)


def test_only_the_outputs_asked_for_come_back(over_grpc: Any) -> None:
    outputs = [triton_grpc.InferRequestedOutput("order")]
    response = over_grpc.infer("ranker", inputs(triton_grpc, **asked()), outputs=outputs).get_response()
    assert [output.name for output in response.outputs] == ["order"]


def test_user_features_of_the_request_win_over_the_stores(over_grpc: Any) -> None:
    stored = over_grpc.infer("ranker", inputs(triton_grpc, **asked())).as_numpy("score")
    same = over_grpc.infer("ranker", inputs(triton_grpc, **asked(user=['{"gender": "M"}']))).as_numpy("score")
    other = over_grpc.infer("ranker", inputs(triton_grpc, **asked(user=['{"gender": "F"}']))).as_numpy("score")
    assert same.tolist() == stored.tolist()
    assert np.abs(other - stored).max() > 1e-4


def test_the_ablation_is_served_beside_the_ranker(over_grpc: Any, ids_only: Any) -> None:
    result = over_grpc.infer("ranker-ids", inputs(triton_grpc, **asked()))
    assert result.get_response().parameters["contract_digest"].string_param == ids_only.contract.digest


def test_metadata_and_health_over_grpc(over_grpc: Any) -> None:
    assert over_grpc.is_server_live()
    assert over_grpc.is_server_ready()
    assert over_grpc.is_model_ready("ranker")
    assert list(over_grpc.get_server_metadata().extensions) == ["binary_tensor_data"]
    metadata = over_grpc.get_model_metadata("ranker")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("score", "FP32", [-1]),
        ("order", "INT64", [-1]),
        ("caption_known", "BOOL", [-1]),
        ("item_known", "BOOL", [-1]),
    ]
    assert [tensor.name for tensor in metadata.inputs] == ["user_id", "item_id", "caption", "user", "context"]


def test_metadata_and_health_over_rest(over_http: Any) -> None:
    assert over_http.is_server_live()
    assert over_http.is_server_ready()
    assert over_http.is_model_ready("ranker")
    server = over_http.get_server_metadata()
    assert (server["name"], server["version"]) == ("sightline-transformer", project_version())
    assert over_http.get_model_metadata("ranker")["inputs"][1] == {
        "name": "item_id",
        "datatype": "BYTES",
        "shape": [-1],
    }


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.infer("nobody", inputs(triton_grpc, **asked())), "StatusCode.NOT_FOUND"),
        (lambda c: c.infer("ranker", inputs(triton_grpc, **asked()), model_version="3"), "StatusCode.NOT_FOUND"),
        (lambda c: c.is_model_ready("nobody"), "StatusCode.NOT_FOUND"),
        (lambda c: c.get_model_metadata("nobody"), "StatusCode.NOT_FOUND"),
        (lambda c: c.infer("ranker", inputs(triton_grpc, user_id=["1"])), "StatusCode.INVALID_ARGUMENT"),
        (lambda c: c.infer("ranker", inputs(triton_grpc, **asked(usr=["x"]))), "StatusCode.INVALID_ARGUMENT"),
        (lambda c: c.infer("ranker", inputs(triton_grpc, **asked(item_id=["1", "1"]))), "StatusCode.INVALID_ARGUMENT"),
        (lambda c: c.unload_model("ranker"), "StatusCode.UNIMPLEMENTED"),
    ],
)
def test_grpc_errors_have_the_right_code(over_grpc: Any, call: Any, code: str) -> None:
    with pytest.raises(InferenceServerException) as raised:
        call(over_grpc)
    assert raised.value.status() == code


def test_a_client_deadline_that_is_too_short_is_exceeded_and_not_an_error_of_ours(over_grpc: Any) -> None:
    with pytest.raises(InferenceServerException) as raised:
        over_grpc.infer("ranker", inputs(triton_grpc, **asked()), client_timeout=0.0005)
    assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_timeout_parameter_bounds_the_call_to_triton(over_grpc: Any) -> None:
    with pytest.raises(InferenceServerException) as raised:
        over_grpc.infer("ranker", inputs(triton_grpc, **asked()), timeout=1)
    assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_typed_grpc_contents_are_answered_typed(transformer: Any, expected: np.ndarray) -> None:
    """A client that fills `contents` and not `raw_input_contents`, as the protocol allows."""
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name="ranker")
    for name, values in asked().items():
        tensor = request.inputs.add(name=name, datatype="BYTES", shape=[len(values)])
        tensor.contents.bytes_contents.extend(value.encode() for value in values)
    with grpc.insecure_channel(f"127.0.0.1:{transformer.grpc_port}") as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert not response.raw_output_contents
    np.testing.assert_allclose(response.outputs[0].contents.fp32_contents, expected, atol=1e-5)


def test_rest_errors_are_a_string_and_a_list_of_faults(transformer: Any) -> None:
    body = {"inputs": [{"name": "user_id", "datatype": "INT32", "shape": [1], "data": [1]}]}
    response = httpx.post(f"{transformer.url}/v2/models/ranker/infer", json=body)
    assert response.status_code == 400
    assert isinstance(response.json()["error"], str)
    assert {fault["field"] for fault in response.json()["faults"]} == {"inputs.user_id", "inputs.item_id"}


def test_tritons_http_client_reads_our_error(over_http: Any) -> None:
    with pytest.raises(InferenceServerException, match=r"inputs\.item_id: is missing"):
        over_http.infer("ranker", inputs(triton_http, user_id=["1"]))
