"""The REST form of the Open Inference Protocol: JSON, with tensors in it or as binary data after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from serving.transformer.errors import InvalidRequestError
from serving.transformer.request import ABSENT, FaultList
from serving.transformer.v2 import OUTPUTS, InferAnswer, InferCall, InputTensor, contiguous

LENGTH_HEADER: Final = "inference-header-content-length"
_CALL = ("id", "parameters", "inputs", "outputs")
_INPUT = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT = ("name", "parameters")
_PARAMETERS = ("binary_data_output", "timeout")


@dataclass(frozen=True, slots=True)
class RestCall:
    """A call, and which outputs it wants as binary data."""

    call: InferCall
    binary: frozenset[str]


def parse_json(body: bytes) -> Any:
    """The JSON document. Raises `InvalidRequestError`; nesting is bounded by the parser (1,024 levels)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as cause:
        faults = FaultList()
        near = body[max(0, cause.pos - 10) : cause.pos + 10]
        faults.add("body", near, f"UTF-8 JSON ({cause})", "correct it; JSON has no NaN or Infinity")
        raise InvalidRequestError(faults.found) from cause


def read_rest(body: bytes, header_length: str | None) -> RestCall:
    """Read a request body. Raises `InvalidRequestError` with every fault of its form."""
    faults = FaultList()
    split = _split(header_length, len(body), faults)
    faults.finish()
    document = parse_json(body[:split])
    if not isinstance(document, dict):
        faults.add("body", document, 'a JSON object with "inputs"', "wrap the request in an object")
        faults.finish()
    faults.unknown("", document, _CALL)
    parameters = _object("parameters", document.get("parameters"), _PARAMETERS, faults)
    tensors = _inputs(document.get("inputs", ABSENT), body[split:], faults)
    outputs, binary = _outputs(document.get("outputs"), parameters, faults)
    call_id = document.get("id", "")
    if not isinstance(call_id, str) or len(call_id) > 256:
        faults.add("id", call_id, "a string of at most 256 characters", "shorten it or leave it out")
    timeout = _timeout(parameters.get("timeout"), faults)
    faults.finish()
    return RestCall(InferCall(call_id, tensors, outputs, timeout), binary)


def write_rest(model: str, answer: InferAnswer, binary: frozenset[str]) -> tuple[bytes, int | None]:
    """The body and, if it has binary data, the length of its JSON part."""
    outputs, chunks = [], []
    for name, tensor in answer.tensors.items():
        entry: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": tensor.shape}
        if name in binary:
            chunks.append(contiguous(tensor))
            entry["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            entry["data"] = tensor
        outputs.append(entry)
    document = {
        "model_name": model,
        "id": answer.id,
        "parameters": answer.parameters,
        "outputs": outputs,
    }
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((head, *chunks)), len(head)) if chunks else (head, None)


def _split(header_length: str | None, size: int, faults: FaultList) -> int:
    """Where the JSON ends."""
    if header_length is None:
        return size
    if header_length.isascii() and header_length.isdigit() and int(header_length[:12]) <= size:
        return int(header_length[:12])
    expected = f"an integer of 0 to {size}, the bytes of the body"
    faults.add("header Inference-Header-Content-Length", header_length, expected, "give the length of the JSON part")
    return 0


def _inputs(raw: object, data: bytes, faults: FaultList) -> list[InputTensor]:
    if not isinstance(raw, list):
        faults.add("inputs", raw, "an array of tensors", "give user_id and item_id")
        return []
    tensors, at = [], 0
    for position, one in enumerate(raw[:64]):
        tensor, at = _input(f"inputs[{position}]", one, data, at, faults)
        if tensor is not None:
            tensors.append(tensor)
    if at != len(data) and not faults.found:
        expected = f"{at} bytes, the sum of binary_data_size"
        faults.note("body", f"with {len(data)} bytes after the JSON", expected, "correct the sizes")
    return tensors


def _input(where: str, raw: object, data: bytes, at: int, faults: FaultList) -> tuple[InputTensor | None, int]:
    if not isinstance(raw, dict):
        faults.add(where, raw, "an object", "give name, shape, datatype and data")
        return None, at
    faults.unknown(where, raw, _INPUT)
    name, datatype, shape = (raw.get(key, ABSENT) for key in ("name", "datatype", "shape"))
    if not isinstance(name, str):
        faults.add(f"{where}.name", name, "a string", "name the tensor")
        return None, at
    if not isinstance(datatype, str):
        faults.add(f"{where}.datatype", datatype, "a string", 'give "BYTES"')
        return None, at
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        faults.add(f"{where}.shape", shape, "an array of sizes", "give the tensor's shape")
        return None, at
    parameters = _object(f"{where}.parameters", raw.get("parameters"), ("binary_data_size",), faults)
    size = parameters.get("binary_data_size")
    if size is None:
        values = raw.get("data", ABSENT)
        if not isinstance(values, list):
            expected = "an array, or parameters.binary_data_size"
            faults.add(f"{where}.data", values, expected, "give the values")
            return None, at
        return InputTensor(name, datatype, tuple(shape), values), at
    if type(size) is not int or not 0 <= size <= len(data) - at:
        expected = f"an integer of 0 to {len(data) - at}, the bytes left after the JSON"
        faults.add(f"{where}.parameters.binary_data_size", size, expected, "send the bytes after the JSON part")
        return None, at
    return InputTensor(name, datatype, tuple(shape), data[at : at + size]), at + size


def _outputs(raw: object, parameters: Mapping[str, Any], faults: FaultList) -> tuple[list[str], frozenset[str]]:
    """Names asked for, and which of them as binary data."""
    usual = parameters.get("binary_data_output", False)
    if not isinstance(usual, bool):
        faults.add("parameters.binary_data_output", usual, "true or false", "correct it")
    if raw is None:
        return [], frozenset(OUTPUTS if usual is True else ())
    if not isinstance(raw, list):
        faults.add("outputs", raw, "an array of outputs", "name the outputs you want, or leave it out for all")
        return [], frozenset()
    names, binary = [], set()
    for position, one in enumerate(raw[:64]):
        where = f"outputs[{position}]"
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            faults.add(where, one, "an object with a name", "name the output")
            continue
        faults.unknown(where, one, _OUTPUT)
        wanted = _object(f"{where}.parameters", one.get("parameters"), ("binary_data",), faults)
        if not isinstance(wanted.get("binary_data", usual), bool):
            faults.add(f"{where}.parameters.binary_data", wanted["binary_data"], "true or false", "correct it")
        elif wanted.get("binary_data", usual):
            binary.add(one["name"])
        names.append(one["name"])
    return names, frozenset(binary)


def _object(where: str, raw: object, known: tuple[str, ...], faults: FaultList) -> Mapping[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        faults.add(where, raw, "an object", "correct it or leave it out")
        return {}
    faults.unknown(where, raw, known)
    return raw


def _timeout(raw: object, faults: FaultList) -> float | None:
    """Triton's request parameter `timeout`, microseconds, in seconds."""
    if raw is None:
        return None
    if type(raw) is not int or raw <= 0:
        faults.add("parameters.timeout", raw, "a positive integer of microseconds", "correct it or leave it out")
        return None
    return raw / 1e6
