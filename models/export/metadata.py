"""The metadata of an ONNX file, read without the onnx package.

`ModelProto` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) keeps string pairs in the repeated field 14,
`metadata_props`, each a `StringStringEntryProto` of key = 1 and value = 2. Reading them needs only the protobuf
wire format's top level: varint tags and length-delimited fields, skipping over the graph.
"""

from __future__ import annotations

CONTRACT_DIGEST = "sightline.contract_digest"
CONTRACT_VERSION = "sightline.contract_version"

_METADATA_PROPS = 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class OnnxMetadataError(ValueError):
    """The bytes are not the protobuf message that an ONNX file is."""


def read_metadata(data: bytes) -> dict[str, str]:
    """The `metadata_props` of the ONNX model in `data`. Raises OnnxMetadataError for bytes that are no model."""
    entries = (_fields(value) for number, value in _fields(data) if number == _METADATA_PROPS)
    return {_text(entry, 1): _text(entry, 2) for entry in entries}


def _text(entry: list[tuple[int, bytes]], number: int) -> str:
    try:
        return next((value.decode("utf-8") for key, value in entry if key == number), "")
    except UnicodeDecodeError as error:
        raise OnnxMetadataError("a metadata entry is not UTF-8 text; the ONNX file is damaged") from error


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """The length-delimited fields of one message as (field number, bytes); other kinds are stepped over."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise OnnxMetadataError(
                    f"field {number} ends {at + length - len(data)} bytes after the file; it is truncated"
                )
            found.append((number, data[at : at + length]))
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise OnnxMetadataError(f"byte {at} has the unknown protobuf wire type {kind}; this is not an ONNX file")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise OnnxMetadataError("the file ends inside a number; it is truncated")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise OnnxMetadataError(f"a number at byte {at} is longer than 64 bits; this is not an ONNX file")
