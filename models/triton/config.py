"""The text of a Triton `config.pbtxt`, made from a bundle's contract.

Schema: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto. Nothing is left to
auto-completion. Triton wants at least one dimension after the batch axis, so the ranker's `score` [rows] is
[rows, 1] on Triton's wire; every input has the contract's own shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.contract import Contract, TensorSpec

Platform = Literal["onnxruntime", "python"]
Device = Literal["cpu", "gpu"]
MAX_BATCH_SIZE = 4096

_DATA_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}


class TritonSettings(BaseModel):
    """How Triton runs a ranker; every value ends in `config.pbtxt`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Platform = "onnxruntime"
    """`onnxruntime`: Triton's own backend (NVIDIA's image). `python`: ONNX Runtime in `model.py` (the PyPI wheel)."""
    instances: Annotated[int, Field(ge=1)] = 1
    """Model instances: batches that run at the same time."""
    device: Device = "cpu"
    """Where the instances are; on the platform `python`, `gpu` needs the package onnxruntime-gpu beside Triton."""
    intra_op_threads: Annotated[int, Field(ge=1)] = 1
    """Threads of one instance within one batch."""
    preferred_rows: tuple[Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)], ...] = (512, 1024, 2048)
    """Batch sizes that are sent at once when requests wait together."""
    max_queue_delay_us: Annotated[int, Field(ge=0)] = 100
    """How long a request may wait for others, in microseconds: below the noise of one request."""
    queue_timeout_us: Annotated[int, Field(ge=0)] = 1_000_000
    """A request that has waited this long is refused, so that a backlog cannot grow older than its callers."""
    max_queue_size: Annotated[int, Field(ge=1)] = 1024
    """Requests waiting at most; the next one is refused at once."""


def config_text(
    model_name: str, contract: Contract, settings: TritonSettings, *, bundle: str, onnx_sha256: Mapping[int, str]
) -> str:
    """The whole `config.pbtxt`.

    `bundle` is the id of the newest version's bundle; `onnx_sha256` has, per version on disk, the digest of
    its `model.onnx`, which the Python platform checks before it serves the version.
    """
    parameters = {
        "contract_digest": contract.digest,
        "contract_version": str(contract.version),
        "bundle": bundle,
        "intra_op_threads": str(settings.intra_op_threads),
        **{f"onnx_sha256_{version}": digest for version, digest in sorted(onnx_sha256.items())},
    }
    blocks = [
        f"name: {_quoted(model_name)}",
        _platform(settings.platform),
        f"max_batch_size: {MAX_BATCH_SIZE}",
        *(_tensor("input", tensor) for tensor in contract.tensors),
        _output(contract.output, settings.platform),
        _instances(settings),
        _batching(settings),
        "version_policy { latest { num_versions: 1 } }",
        *(_warmup(contract, rows) for rows in (1, *settings.preferred_rows)),
        *(_parameter(key, value) for key, value in parameters.items()),
        *(_onnxruntime_parameters(settings) if settings.platform == "onnxruntime" else ()),
    ]
    return "\n".join(blocks) + "\n"


def _platform(platform: Platform) -> str:
    if platform == "python":
        return 'backend: "python"'
    return 'platform: "onnxruntime_onnx"\nbackend: "onnxruntime"\ndefault_model_filename: "model.onnx"'


def _tensor(kind: str, tensor: TensorSpec) -> str:
    return f"{kind} {{ name: {_quoted(tensor.name)} data_type: {_DATA_TYPES[tensor.dtype]} dims: {_dims(tensor)} }}"


def _dims(tensor: TensorSpec) -> str:
    return "[ " + ", ".join(str(size) for size in tensor.shape[1:]) + " ]"


def _output(tensor: TensorSpec, platform: Platform) -> str:
    reshape = " reshape { shape: [ ] }" if platform == "onnxruntime" else ""  # the ONNX file's own score is [rows]
    return f"output {{ name: {_quoted(tensor.name)} data_type: {_DATA_TYPES[tensor.dtype]} dims: [ 1 ]{reshape} }}"


def _instances(settings: TritonSettings) -> str:
    return f"instance_group {{ count: {settings.instances} kind: KIND_{settings.device.upper()} }}"


def _batching(settings: TritonSettings) -> str:
    preferred = ", ".join(str(rows) for rows in settings.preferred_rows)
    return (
        "dynamic_batching {\n"
        f"  preferred_batch_size: [ {preferred} ]\n"
        f"  max_queue_delay_microseconds: {settings.max_queue_delay_us}\n"
        "  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    default_timeout_microseconds: {settings.queue_timeout_us}\n"
        "    allow_timeout_override: true\n"
        f"    max_queue_size: {settings.max_queue_size}\n"
        "  }\n"
        "}"
    )


def _warmup(contract: Contract, rows: int) -> str:
    """Rows of zeros, the padding bucket of every id: memory is claimed and kernels chosen before the first request."""
    inputs = "".join(
        f"\n  inputs {{ key: {_quoted(tensor.name)} value {{ data_type: {_DATA_TYPES[tensor.dtype]}"
        f" dims: {_dims(tensor)} zero_data: true }} }}"
        for tensor in contract.tensors
    )
    return f'model_warmup {{\n  name: "rows-{rows}"\n  batch_size: {rows}{inputs}\n}}'


def _onnxruntime_parameters(settings: TritonSettings) -> tuple[str, ...]:
    """Varying batch sizes make the default arena grow without bound (triton server#7594, #6051)."""
    return (
        _parameter("intra_op_thread_count", str(settings.intra_op_threads)),
        _parameter("memory.enable_memory_arena_shrinkage", f"{settings.device}:0"),
    )


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"


def _quoted(text: str) -> str:
    return json.dumps(text)  # protobuf text format takes the same escapes for what names and digests can hold
