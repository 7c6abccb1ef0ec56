"""The Open Inference Protocol's request and answer, free of REST and gRPC: named tensors to a ranking and back."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from serving.transformer.errors import shown
from serving.transformer.ranker import Ranking
from serving.transformer.request import FaultList, RankRequest, RequestParser, utf8_size

Parameter = str | int | bool
BODY: Final = "give both inputs as BYTES: user_id [1] and item_id [N]"
_LENGTH: Final = struct.Struct("<I")
_length_at: Final = _LENGTH.unpack_from
_MANY, _ONE = "[N]", "[1]"
INPUTS: Final[dict[str, str]] = {
    "user_id": _ONE,
    "item_id": _MANY,
    "caption": _MANY,
    "user": _ONE,
    "context": _ONE,
}
OUTPUTS: Final[dict[str, str]] = {"score": "FP32", "order": "INT64", "caption_known": "BOOL", "item_known": "BOOL"}


@dataclass(frozen=True, slots=True)
class InputTensor:
    """An input as it came: `data` is the raw bytes of the binary form, or a list of values."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | Sequence[Any]


@dataclass(frozen=True, slots=True)
class InferCall:
    """One inference call. `outputs` are the names asked for, empty for all; `timeout` is in seconds."""

    id: str
    inputs: Sequence[InputTensor]
    outputs: Sequence[str]
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """One answer: tensors by name, in the order asked, and the response's parameters."""

    id: str
    tensors: Mapping[str, npt.NDArray[Any]]
    parameters: Mapping[str, Parameter]


def metadata(names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tensors as model metadata lists them: INPUTS (all BYTES) or OUTPUTS (by datatype)."""
    if names is INPUTS:
        return [{"name": n, "datatype": "BYTES", "shape": [1 if s == _ONE else -1]} for n, s in names.items()]
    return [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in names.items()]


def read_call(call: InferCall, parser: RequestParser) -> RankRequest:
    """The ranking that the tensors ask for. Raises `InvalidRequestError` with every fault."""
    faults = FaultList()
    _check_names(call, faults)
    strings = {tensor.name: _strings(tensor, faults) for tensor in call.inputs if tensor.name in INPUTS}
    item_ids = strings.get("item_id") or []
    captions = strings.get("caption")
    if captions is not None and item_ids and len(captions) != len(item_ids):
        expected = f"as many as item_id has ({len(item_ids)})"
        faults.note("caption", f"{len(captions)} values", expected, "give an empty caption to use the stored one")
    if faults.found:
        faults.finish()
    user_ids = strings["user_id"]
    parser.check_id("user_id", user_ids[0], faults)
    user, context = (_json(name, strings.get(name), faults) for name in ("user", "context"))
    request = parser.tensors(user_ids[0], item_ids, captions, user, context, faults)
    faults.finish()
    return request


def answer(call: InferCall, ranking: Ranking) -> InferAnswer:
    """The tensors of a ranking, those that the call asked for."""
    found = ranking.features
    tensors: dict[str, npt.NDArray[Any]] = {
        "score": ranking.scores,
        "order": ranking.order,
        "caption_known": found.caption_stored | found.caption_inline,
        "item_known": found.item_known,
    }
    parameters: dict[str, Parameter] = {"contract_digest": ranking.contract_digest} if ranking.contract_digest else {}
    parameters |= {"user_known": found.user_known, "degraded": ",".join(ranking.degraded)}
    if ranking.arm is not None:
        parameters["arm"] = ranking.arm
    if ranking.experiment is not None:
        parameters["experiment"] = ranking.experiment
    return InferAnswer(call.id, {name: tensors[name] for name in call.outputs or OUTPUTS}, parameters)


def _check_names(call: InferCall, faults: FaultList) -> None:
    names = [tensor.name for tensor in call.inputs]
    faults.unknown("inputs", dict.fromkeys(names), tuple(INPUTS))
    faults.unknown("outputs", dict.fromkeys(call.outputs), tuple(OUTPUTS))
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.note(f"inputs.{name}", "given more than once", "each input once", "remove the others")
    for name in ("user_id", "item_id"):
        if name not in names:
            faults.note(f"inputs.{name}", "missing", f"BYTES {INPUTS[name]}", BODY)


def _strings(tensor: InputTensor, faults: FaultList) -> list[str]:
    """The values of a BYTES tensor; a fault and an empty list if it is not one of the right shape."""
    where, wanted = f"inputs.{tensor.name}", INPUTS[tensor.name]
    if tensor.datatype != "BYTES":
        faults.note(where, f"of datatype {shown(tensor.datatype)}", "BYTES", "give the values as strings")
        return []
    if len(tensor.shape) != 1 or (wanted == _ONE and tensor.shape != (1,)):
        faults.note(where, f"of shape {shown(list(tensor.shape))}", wanted, "give a flat tensor")
        return []
    values: list[Any] | None = split_bytes(tensor.data) if isinstance(tensor.data, bytes) else list(tensor.data)
    if values is None:
        faults.note(where, "bytes that end inside a value", "a 4-byte length before each value", "serialize it anew")
        return []
    if len(values) != tensor.shape[0]:
        faults.note(where, f"{len(values)} values", f"{tensor.shape[0]}, as its shape says", "correct the shape")
        return []
    if set(map(type, values)) <= {str}:  # nearly always: no Python loop over the values
        return values
    return [v if type(v) is str else _string(f"{where}[{i}]", v, faults) for i, v in enumerate(values)]


def split_bytes(raw: bytes) -> list[str] | list[bytes] | None:
    """The values of a serialized BYTES tensor: a little-endian u32 length, then that many bytes, and so on.

    Returns strings if all is ASCII (one decode for all, then slices), bytes otherwise, None if it is cut short.
    """
    text: Any = raw.decode("ascii") if raw.isascii() else raw
    values: list[Any] = []
    at, end = 0, len(raw)
    last = end - _LENGTH.size
    while at <= last:
        start = at + 4
        at = start + _length_at(raw, at)[0]
        values.append(text[start:at])
    return values if at == end else None


def _string(where: str, value: object, faults: FaultList) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            faults.add(where, value, "UTF-8", "encode the text as UTF-8")
            return "?"
    faults.add(where, value, "a string", "write the value as a string")
    return "?"


def _json(name: str, values: Sequence[str] | None, faults: FaultList) -> object:
    """The JSON object in a one-value tensor; an absent or empty one means: nothing given."""
    if not values or not values[0]:
        return None
    if utf8_size(values[0]) is None:
        faults.add(name, values[0], "valid Unicode", "remove lone surrogates")
        return None
    try:
        return orjson.loads(values[0])
    except orjson.JSONDecodeError as cause:
        faults.add(name, values[0], f"a JSON object ({cause})", "JSON has no NaN: leave unknown features out")
        return None


def contiguous(tensor: npt.NDArray[Any]) -> bytes:
    """The little-endian bytes of a tensor in row-major order."""
    little = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).tobytes()
