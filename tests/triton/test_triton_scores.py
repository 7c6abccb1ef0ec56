"""The real Triton gives the scores of PyTorch and of ONNX Runtime, to any client of the Open Inference Protocol."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from models.export.onnx import random_inputs, torch_scores
from serving.ranker.command import RESTRICTION_HEADER
from serving.stack.triton_server import ask as ask_triton


def as_inputs(client, tensors):
    inputs = []
    for name, values in tensors.items():
        tensor = client.InferInput(name, list(values.shape), {"f": "FP32", "i": "INT64"}[values.dtype.kind])
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs


@pytest.fixture(scope="module")
def by_grpc(triton):
    with grpc_client.InferenceServerClient(f"127.0.0.1:{triton.ports.grpc}") as client:
        yield client


@pytest.fixture(scope="module")
def by_http(triton):
    with http_client.InferenceServerClient(f"127.0.0.1:{triton.ports.http}") as client:
        yield client


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 1000, 4096])
def test_scores_by_grpc_equal_onnxruntime_and_pytorch(triton, by_grpc, rows):
    tensors = random_inputs(triton.bundle.contract, rows, seed=rows)
    scores = by_grpc.infer("ranker", as_inputs(grpc_client, tensors)).as_numpy("score")
    (direct,) = onnxruntime.InferenceSession(triton.bundle.onnx_path).run(["score"], tensors)
    assert scores.shape == (rows, 1)
    assert np.abs(scores[:, 0] - direct).max() < 1e-5
    assert np.abs(scores[:, 0] - torch_scores(triton.model, tensors)).max() < 1e-5
    assert rows < 3 or scores.std() > 0.001


@pytest.mark.parametrize("binary", [True, False])
def test_scores_by_http_are_the_same_in_json_and_binary(triton, by_http, binary):
    tensors = random_inputs(triton.bundle.contract, 5, seed=1)
    inputs = as_inputs(http_client, tensors)
    for tensor, values in zip(inputs, tensors.values(), strict=True):
        tensor.set_data_from_numpy(values, binary_data=binary)
    outputs = [http_client.InferRequestedOutput("score", binary_data=binary)]
    key = {RESTRICTION_HEADER: triton.inference_key}
    scores = by_http.infer("ranker", inputs, outputs=outputs, headers=key).as_numpy("score")
    assert np.abs(scores[:, 0] - torch_scores(triton.model, tensors)).max() < 1e-5


def inferences(triton):
    """Rows scored so far, and executions of the model, from the metrics: statistics are restricted."""
    text = ask_triton(triton.ports.metrics, "/metrics")[1].decode()
    names = ("nv_inference_count", "nv_inference_exec_count")
    return [int(re.search(rf'^{name}{{model="ranker".*}} (\d+)$', text, re.MULTILINE)[1]) for name in names]


def test_concurrent_requests_of_different_sizes_share_batches_and_get_their_own_scores(triton, by_grpc):
    sizes = [1, 3, 17, 2, 64, 5, 9, 1] * 12
    requests = [random_inputs(triton.bundle.contract, rows, seed=index) for index, rows in enumerate(sizes)]
    rows_before, runs_before = inferences(triton)

    def ask(tensors):
        return by_grpc.infer("ranker", as_inputs(grpc_client, tensors)).as_numpy("score")[:, 0]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, requests))
    for tensors, scores in zip(requests, answers, strict=True):
        assert np.abs(scores - torch_scores(triton.model, tensors)).max() < 1e-5
    rows, runs = inferences(triton)
    assert rows - rows_before == sum(sizes)
    assert runs - runs_before < len(sizes)  # some ran together


def test_a_request_with_an_impossible_bucket_fails_alone_in_its_batch(triton, by_grpc):
    good = random_inputs(triton.bundle.contract, 3, seed=1)
    bad = {**good, "categorical": np.full_like(good["categorical"], 10_000)}

    def ask(tensors):
        try:
            return by_grpc.infer("ranker", as_inputs(grpc_client, tensors)).as_numpy("score")[:, 0]
        except grpc_client.InferenceServerException as error:
            return error.message()

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, [good, bad] * 12))
    assert all("the ranker refused the request" in answer for answer in answers[1::2])
    expected = torch_scores(triton.model, good)
    assert all(np.abs(answer - expected).max() < 1e-5 for answer in answers[0::2])


def test_a_negative_bucket_is_refused_and_not_counted_from_the_end(triton, by_grpc):
    tensors = random_inputs(triton.bundle.contract, 2, seed=1)
    tensors["caption"][1, 0] = -1
    with pytest.raises(grpc_client.InferenceServerException, match="caption has -1; bucket numbers start at 0"):
        by_grpc.infer("ranker", as_inputs(grpc_client, tensors))


def test_a_wrong_dtype_is_refused_with_the_input_named(triton, by_grpc):
    tensors = random_inputs(triton.bundle.contract, 2, seed=1)
    wrong = {**tensors, "categorical": tensors["categorical"].astype(np.float32)}
    with pytest.raises(grpc_client.InferenceServerException, match=r"'categorical'.*INT64"):
        by_grpc.infer("ranker", as_inputs(grpc_client, wrong))


def test_a_wrong_shape_is_refused_with_the_input_named(triton, by_grpc):
    tensors = random_inputs(triton.bundle.contract, 2, seed=1)
    wrong = {**tensors, "caption": tensors["caption"][:, :3]}
    with pytest.raises(grpc_client.InferenceServerException, match="'caption'"):
        by_grpc.infer("ranker", as_inputs(grpc_client, wrong))


def test_more_rows_than_the_batch_limit_are_refused(triton, by_grpc):
    tensors = random_inputs(triton.bundle.contract, 4097, seed=1)
    with pytest.raises(grpc_client.InferenceServerException, match="4096"):
        by_grpc.infer("ranker", as_inputs(grpc_client, tensors))
