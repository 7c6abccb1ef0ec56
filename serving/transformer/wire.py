"""Protobuf messages of the Open Inference Protocol and of Triton's ModelConfig, in a descriptor pool of their own.

`kserve` and `tritonclient` both register the package `inference` in protobuf's default pool, so one process can
import only one of them; this process imports kserve. And kserve's copy lacks ModelConfig. So the part of both that the
predictor client needs is declared here: field names and numbers of Triton's grpc_service.proto and model_config.proto.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped,unused-ignore]

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_BOOL
_INT32, _INT64, _MESSAGE = _Field.TYPE_INT32, _Field.TYPE_INT64, _Field.TYPE_MESSAGE

# message: {field: (number, type or message name, repeated)}; Triton's enum DataType is read as its number
_MESSAGES: Final[dict[str, dict[str, tuple[int, int | str, bool]]]] = {
    "ModelReadyRequest": {"name": (1, _STRING, False), "version": (2, _STRING, False)},
    "ModelReadyResponse": {"ready": (1, _BOOL, False)},
    "ModelMetadataRequest": {"name": (1, _STRING, False), "version": (2, _STRING, False)},
    "ModelMetadataResponse": {"name": (1, _STRING, False), "versions": (2, _STRING, True)},
    "InferInputTensor": {
        "name": (1, _STRING, False),
        "datatype": (2, _STRING, False),
        "shape": (3, _INT64, True),
    },
    "InferOutputTensor": {
        "name": (1, _STRING, False),
        "datatype": (2, _STRING, False),
        "shape": (3, _INT64, True),
    },
    "InferRequestedOutputTensor": {"name": (1, _STRING, False)},
    "ModelInferRequest": {
        "model_name": (1, _STRING, False),
        "model_version": (2, _STRING, False),
        "id": (3, _STRING, False),
        "inputs": (5, "InferInputTensor", True),
        "outputs": (6, "InferRequestedOutputTensor", True),
        "raw_input_contents": (7, _BYTES, True),
    },
    "ModelInferResponse": {
        "model_name": (1, _STRING, False),
        "model_version": (2, _STRING, False),
        "id": (3, _STRING, False),
        "outputs": (5, "InferOutputTensor", True),
        "raw_output_contents": (6, _BYTES, True),
    },
    "ModelConfigRequest": {"name": (1, _STRING, False), "version": (2, _STRING, False)},
    "ModelInput": {"name": (1, _STRING, False), "data_type": (2, _INT32, False), "dims": (4, _INT64, True)},
    "ModelOutput": {"name": (1, _STRING, False), "data_type": (2, _INT32, False), "dims": (3, _INT64, True)},
    "ModelParameter": {"string_value": (1, _STRING, False)},
    "ParametersEntry": {"key": (1, _STRING, False), "value": (2, "ModelParameter", False)},
    "ModelConfig": {
        "name": (1, _STRING, False),
        "max_batch_size": (4, _INT32, False),
        "input": (5, "ModelInput", True),
        "output": (6, "ModelOutput", True),
        "parameters": (14, "ParametersEntry", True),
    },
    "ModelConfigResponse": {"config": (1, "ModelConfig", False)},
}
_PACKAGE: Final = "sightline.inference"


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sightline/inference.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            entry = message.field.add(name=field, number=number, label=label)
            entry.type = _MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                entry.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _classes()
ModelReadyRequest: Any = _CLASSES["ModelReadyRequest"]
ModelReadyResponse: Any = _CLASSES["ModelReadyResponse"]
ModelMetadataRequest: Any = _CLASSES["ModelMetadataRequest"]
ModelMetadataResponse: Any = _CLASSES["ModelMetadataResponse"]
ModelInferRequest: Any = _CLASSES["ModelInferRequest"]
ModelInferResponse: Any = _CLASSES["ModelInferResponse"]
ModelConfigRequest: Any = _CLASSES["ModelConfigRequest"]
ModelConfigResponse: Any = _CLASSES["ModelConfigResponse"]
SERVICE: Final = "/inference.GRPCInferenceService/"

# numpy dtype name -> (datatype of the protocol, Triton's DataType number)
DATATYPES: Final[dict[str, tuple[str, int]]] = {
    "bool": ("BOOL", 1),
    "int32": ("INT32", 8),
    "int64": ("INT64", 9),
    "float32": ("FP32", 11),
    "float64": ("FP64", 12),
}
