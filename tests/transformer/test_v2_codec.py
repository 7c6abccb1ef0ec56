"""The tensors of the Open Inference Protocol, read and written without any server."""

import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

from models.contract import Contract
from serving.transformer import v2
from serving.transformer.errors import InvalidRequestError
from serving.transformer.feature_names import FeatureNames
from serving.transformer.request import Limits, RequestParser
from serving.transformer.v2_grpc import read_grpc, write_grpc
from serving.transformer.v2_json import read_rest, write_rest


@pytest.fixture(scope="module")
def parser(contract: Contract) -> RequestParser:
    return RequestParser(FeatureNames(contract), Limits(candidates=9, id_bytes=20, caption_bytes=20))


def tensor(name: str, *values: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(values)], "data": list(values), **changes}


def body(*tensors: dict[str, Any], **more: Any) -> bytes:
    return orjson.dumps({"inputs": list(tensors), **more})


GOOD = (tensor("user_id", "u"), tensor("item_id", "a", "b"))


def says(call: Any) -> str:
    with pytest.raises(InvalidRequestError) as raised:
        call()
    return raised.value.message


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_serialized_bytes_split_as_tritons_client_joins_them(values: list[bytes]) -> None:
    joined = serialize_byte_tensor(np.array(values, np.object_)) if values else np.empty(0)
    found = v2.split_bytes(joined.item() if joined.size else b"")
    assert found is not None
    assert [value.encode() if isinstance(value, str) else value for value in found] == values


@given(st.binary(max_size=60))
def test_any_bytes_split_or_are_refused(raw: bytes) -> None:
    found = v2.split_bytes(raw)
    if found is not None:
        assert sum(4 + len(value) for value in found) == len(raw)


def test_lengths_that_point_beyond_the_end_are_refused() -> None:
    assert v2.split_bytes(struct.pack("<I", 2**32 - 1) + b"x") is None
    assert v2.split_bytes(b"\x01\x00\x00") is None


def test_json_tensors_become_a_request(parser: RequestParser) -> None:
    rest = read_rest(body(*GOOD, tensor("caption", "", "a car"), tensor("context", '{"hour": 3}'), id="7"), None)
    request = v2.read_call(rest.call, parser)
    assert (request.user_id, request.item_ids) == ("u", ("a", "b"))
    assert (request.captions, request.context) == ({1: "a car"}, {"hour": 3})
    assert rest.call.id == "7"
    assert rest.binary == frozenset()


def test_binary_tensors_become_the_same_request(parser: RequestParser) -> None:
    raw = [struct.pack("<I", 1) + b"u", b"".join(struct.pack("<I", 1) + x for x in (b"a", b"b"))]
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [n], "parameters": {"binary_data_size": len(data)}}
        for name, n, data in (("user_id", 1, raw[0]), ("item_id", 2, raw[1]))
    ]
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    rest = read_rest(head + raw[0] + raw[1], str(len(head)))
    assert v2.read_call(rest.call, parser).item_ids == ("a", "b")
    assert rest.binary == frozenset(v2.OUTPUTS)


@pytest.mark.parametrize(
    ("raw", "length", "expected"),
    [
        (b"{}", None, "inputs: is missing"),
        (b"[]", None, "body: is []"),
        (body(*GOOD, imputs=1), None, "did you mean 'inputs'?"),
        (body(*GOOD, id=4), None, "id: is 4"),
        (body(*GOOD, parameters={"priority": 1}), None, "parameters.priority: is an unknown field"),
        (body(*GOOD, parameters={"timeout": -1}), None, "a positive integer of microseconds"),
        (body(*GOOD, parameters={"binary_data_output": 1}), None, "true or false"),
        (body(*GOOD, outputs={}), None, "outputs: is {}"),
        (body(*GOOD, outputs=[{"nme": "score"}]), None, "an object with a name"),
        (body(*GOOD), "9999", "the bytes of the body"),
        (body(*GOOD), "-1", "Inference-Header-Content-Length: is '-1'"),
        (body(*GOOD) + b"xx", str(len(body(*GOOD))), "with 2 bytes after the JSON"),
        (body(tensor("user_id", "u", shape="x"), GOOD[1]), None, "inputs[0].shape: is 'x'"),
        (body(tensor("user_id", "u", shape=[-1]), GOOD[1]), None, "inputs[0].shape"),
        (body(tensor("user_id", "u", data=None), GOOD[1]), None, "inputs[0].data: is None"),
        (body(tensor("user_id", "u", parameters={"binary_data_size": 5}), GOOD[1]), None, "the bytes left after"),
        (body(tensor("user_id", "u", parameters={"shared_memory_region": "x"})), None, "is an unknown field"),
        (b'{"inputs": [' + b"[" * 2000, None, "UTF-8 JSON"),
    ],
)
def test_a_malformed_rest_body_is_refused_by_name(raw: bytes, length: str | None, expected: str) -> None:
    assert expected in says(lambda: read_rest(raw, length))


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ((GOOD[0],), "inputs.item_id: is missing"),
        ((*GOOD, tensor("user_di", "x")), "did you mean 'user_id'?"),
        ((*GOOD, GOOD[0]), "inputs.user_id: is given more than once"),
        ((tensor("user_id", "u", datatype="INT64"), GOOD[1]), "of datatype 'INT64'; expected BYTES"),
        ((tensor("user_id", "u", "v"), GOOD[1]), "of shape [2]; expected [1]"),
        ((GOOD[0], tensor("item_id", "a", shape=[1, 1])), "of shape [1, 1]; expected [N]"),
        ((GOOD[0], tensor("item_id", "a", shape=[3])), "1 values; expected 3, as its shape says"),
        ((GOOD[0], tensor("item_id", "a", "a")), "item_id[1]: is 'a'"),
        ((GOOD[0], tensor("item_id", "a", "")), "item_id[1]: is ''; expected an id that is not empty"),
        ((GOOD[0], tensor("item_id", data=[], shape=[0])), "item_id: is empty"),
        ((GOOD[0], tensor("item_id", *map(str, range(10)))), "at most 9 candidates"),
        ((GOOD[0], tensor("item_id", data=[7], shape=[1])), "inputs.item_id[0]: is 7; expected a string"),
        ((*GOOD, tensor("caption", "x")), "caption: is 1 values; expected as many as item_id has (2)"),
        ((*GOOD, tensor("caption", "", "x" * 21)), "caption[1]"),
        ((*GOOD, tensor("context", "{")), "context: is '{'; expected a JSON object"),
        ((*GOOD, tensor("context", "[1]")), "context: is [1]; expected an object of features"),
        ((*GOOD, tensor("context", '{"hour": NaN}')), "JSON has no NaN"),
        ((*GOOD, tensor("user", '{"age": true}')), "user.age: is True"),
    ],
)
def test_tensors_that_are_no_request_are_refused_by_name(parser: RequestParser, tensors: Any, expected: str) -> None:
    rest = read_rest(body(*tensors), None)
    assert expected in says(lambda: v2.read_call(rest.call, parser))


def test_an_unknown_output_is_refused(parser: RequestParser) -> None:
    rest = read_rest(body(*GOOD, outputs=[{"name": "scores"}]), None)
    assert "did you mean 'score'?" in says(lambda: v2.read_call(rest.call, parser))


ANSWER = v2.InferAnswer(
    "id",
    {
        "score": np.array([0.25, 0.5], np.float32),
        "order": np.array([1, 0]),
        "caption_known": np.array([True, False]),
        "item_known": np.array([True, True]),
    },
    {"contract_digest": "sha256:x", "user_known": True, "degraded": ""},
)


def test_an_answer_is_written_as_json() -> None:
    written, length = write_rest("ranker", ANSWER, frozenset())
    assert length is None
    document = orjson.loads(written)
    assert document["model_name"] == "ranker"
    assert [output["data"] for output in document["outputs"]] == [[0.25, 0.5], [1, 0], [True, False], [True, True]]


def test_an_answer_is_written_as_binary_data_per_output() -> None:
    written, length = write_rest("ranker", ANSWER, frozenset({"score", "caption_known"}))
    document = orjson.loads(written[:length])
    sizes = [output.get("parameters", {}).get("binary_data_size") for output in document["outputs"]]
    assert sizes == [8, None, 2, None]
    assert written[length:] == np.array([0.25, 0.5], np.float32).tobytes() + b"\x01\x00"


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_is_written_for_grpc(raw: bool) -> None:
    response = write_grpc(service_pb2, "ranker", ANSWER, raw)
    assert len(response.raw_output_contents) == (4 if raw else 0)
    assert list(response.outputs[1].contents.int64_contents) == ([] if raw else [1, 0])
    assert response.parameters["user_known"].bool_param is True


def test_grpc_contents_that_do_not_fit_together_are_refused() -> None:
    request = service_pb2.ModelInferRequest(raw_input_contents=[b""])
    assert "raw_input_contents: is 1 entries; expected 0" in says(lambda: read_grpc(request))
    request = service_pb2.ModelInferRequest(raw_input_contents=[b""])
    request.inputs.add(name="user_id").contents.bytes_contents.append(b"x")
    assert "nothing beside raw_input_contents" in says(lambda: read_grpc(request))
    request = service_pb2.ModelInferRequest()
    request.parameters["priority"].int64_param = 3
    assert "parameters.priority: is an unknown field" in says(lambda: read_grpc(request))


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=80), length=st.none() | st.integers(-2, 90).map(str))
def test_any_bytes_are_refused_and_nothing_else(raw: bytes, length: str | None) -> None:
    with pytest.raises(InvalidRequestError):
        read_rest(raw, length)
