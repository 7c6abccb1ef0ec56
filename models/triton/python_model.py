"""The `model.py` of Triton's Python backend: it serves the `model.onnx` beside it with ONNX Runtime.

This file is copied as it is into each version folder of a model repository, so it may import only numpy,
onnxruntime, the standard library and what Triton's stub process provides.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists in Triton's stub process only
from onnxruntime.capi import onnxruntime_pybind11_state as ort

CONTRACT_DIGEST = "sightline.contract_digest"
LOAD_ERRORS = (
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NotImplemented,
    ort.RuntimeException,
)
RUN_ERRORS = (ort.Fail, ort.InvalidArgument, ort.RuntimeException)


class TritonPythonModel:
    """One model instance; Triton calls these methods by name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open and check the ONNX file; a raised error leaves the model not ready, with the message as its reason."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        version = args["model_version"]
        path = Path(args["model_repository"]) / version / "model.onnx"
        data = _checked_bytes(path, parameters.get(f"onnx_sha256_{version}"), version)
        self._session = _session(path, data, int(parameters["intra_op_threads"]), args["model_instance_kind"])
        _check_contract(path, self._session, parameters["contract_digest"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._output = config["output"][0]["name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Score a batch in one run; if that fails, each request alone, so that only the guilty one is refused."""
        feeds = [self._feed(request) for request in requests]
        try:
            return self._scores(feeds)
        except (ValueError, *RUN_ERRORS) as error:
            if len(feeds) == 1:
                message = f"the ranker refused the request: {error}"
                return [pb_utils.InferenceResponse(error=pb_utils.TritonError(message))]
        return [response for request in requests for response in self.execute([request])]

    def _feed(self, request: Any) -> dict[str, np.ndarray[Any, Any]]:
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}

    def _scores(self, feeds: list[dict[str, np.ndarray[Any, Any]]]) -> list[Any]:
        joined = (
            feeds[0] if len(feeds) == 1 else {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        )
        for name, values in joined.items():
            if values.dtype == np.int64 and values.size and values.min() < 0:
                raise ValueError(
                    f"{name} has {values.min()}; bucket numbers start at 0"
                )  # ONNX would count from the end
        (score,) = self._session.run([self._output], joined)  # [rows]
        ends = np.cumsum([len(feed[self._inputs[0]]) for feed in feeds])[:-1]
        return [self._response(part) for part in np.split(score, ends)]

    def _response(self, score: np.ndarray[Any, Any]) -> Any:
        return pb_utils.InferenceResponse([pb_utils.Tensor(self._output, score[:, None])])  # [rows, 1]


def _checked_bytes(path: Path, expected: str | None, version: str) -> bytes:
    if expected is None:
        raise ValueError(f"config.pbtxt has no onnx_sha256_{version}; place the bundle again instead of copying files")
    data = path.read_bytes()
    actual = "sha256:" + hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ValueError(f"{path} has {actual}, config.pbtxt expects {expected}; place the bundle again")
    return data


def _session(path: Path, data: bytes, threads: int, kind: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if kind == "GPU":
        onnxruntime.preload_dlls()  # CUDA and cuDNN of the packages beside ONNX Runtime; the system may have none
    providers = ["CUDAExecutionProvider"] if kind == "GPU" else ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except LOAD_ERRORS as error:
        raise ValueError(f"{path} is not a model ONNX Runtime can load: {error}") from error


def _check_contract(path: Path, session: Any, expected: str) -> None:
    actual = session.get_modelmeta().custom_metadata_map.get(CONTRACT_DIGEST)
    if actual != expected:
        raise ValueError(
            f"{path} was exported for contract {actual}, config.pbtxt has contract {expected}; place the bundle again"
        )
