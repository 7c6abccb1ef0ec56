"""The gRPC form of the Open Inference Protocol. `pb` is the generated module of whoever serves or calls."""

from collections.abc import Sequence
from typing import Any, Final

from serving.transformer.errors import InvalidRequestError
from serving.transformer.request import FaultList
from serving.transformer.v2 import OUTPUTS, InferAnswer, InferCall, InputTensor, contiguous

_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "BYTES": "bytes_contents",
}


def read_grpc(request: Any) -> InferCall:
    """Read a ModelInferRequest. Raises `InvalidRequestError` for contents that do not fit together."""
    faults = FaultList()
    raw = request.raw_input_contents
    if len(raw) and len(raw) != len(request.inputs):
        expected = f"{len(request.inputs)}, one per input"
        faults.note("raw_input_contents", f"{len(raw)} entries", expected, "give all inputs raw or none")
        raise InvalidRequestError(faults.found)
    timeout = _parameters(request.parameters, faults)
    tensors = [
        InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), _data(tensor, raw, position, faults))
        for position, tensor in enumerate(request.inputs)
    ]
    faults.finish()
    return InferCall(request.id, tensors, [output.name for output in request.outputs], timeout)


def write_grpc(pb: Any, model: str, answer: InferAnswer, raw: bool) -> Any:
    """A ModelInferResponse; `raw` if the request was: a client reads the form that it wrote."""
    response = pb.ModelInferResponse(model_name=model, id=answer.id)
    for key, value in answer.parameters.items():
        kind = "bool_param" if isinstance(value, bool) else "int64_param" if isinstance(value, int) else "string_param"
        setattr(response.parameters[key], kind, value)
    for name, tensor in answer.tensors.items():
        output = response.outputs.add(name=name, datatype=OUTPUTS[name], shape=tensor.shape)
        if raw:
            response.raw_output_contents.append(contiguous(tensor))
        else:
            getattr(output.contents, _CONTENTS[OUTPUTS[name]]).extend(tensor.tolist())
    return response


def _data(tensor: Any, raw: Sequence[bytes], position: int, faults: FaultList) -> bytes | Sequence[Any]:
    if not raw:
        return list(tensor.contents.bytes_contents)
    if tensor.HasField("contents"):
        faults.note(f"inputs.{tensor.name}.contents", "given", "nothing beside raw_input_contents", "give one of both")
    return raw[position]


def _parameters(parameters: Any, faults: FaultList) -> float | None:
    """Only Triton's `timeout` (microseconds) is known; returned in seconds."""
    faults.unknown("parameters", dict.fromkeys(parameters), ("timeout",))
    if "timeout" not in parameters:
        return None
    microseconds = parameters["timeout"].int64_param
    if microseconds <= 0:
        faults.add("parameters.timeout", microseconds, "a positive integer of microseconds", "leave it out")
        return None
    return float(microseconds) / 1e6
