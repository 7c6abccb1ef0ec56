"""Ask the transformer over gRPC, with Triton's own client."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.check.findings import CheckFailedError
from serving.check.question import Answer, Question

GRPC = "V2 gRPC"
_FINAL = {"StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED", "StatusCode.UNAUTHENTICATED"}
_CHANNEL = [("grpc.enable_http_proxy", 0)]  # as over REST: what the environment says of proxies is for the internet


def ask_grpc(target: str, question: Question, timeout: float) -> Answer:
    """The answer of `ModelInfer` at `host:port`; raises `CheckFailedError`."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    inputs = [_strings(triton, "user_id", [question.user_id]), _strings(triton, "item_id", question.items)]
    try:
        with triton.InferenceServerClient(target, channel_args=_CHANNEL) as client:
            result = client.infer(question.model, inputs, client_timeout=timeout)
    except InferenceServerException as error:
        raise CheckFailedError(f"gRPC {target} {question.model}: {error}", final=error.status() in _FINAL) from error
    try:
        return _from_grpc(result)
    except (AttributeError, ValueError) as error:
        raise CheckFailedError(
            f"gRPC {target} {question.model}: the answer is not a ranking ({error!r}); is that port the transformer's?",
            final=True,
        ) from error


def _from_grpc(result: Any) -> Answer:
    parameters = result.get_response().parameters
    return Answer(
        GRPC,
        scores=result.as_numpy("score").tolist(),
        order=result.as_numpy("order").tolist(),
        caption_known=result.as_numpy("caption_known").tolist(),
        item_known=result.as_numpy("item_known").tolist(),
        user_known=parameters["user_known"].bool_param,
        degraded=[reason for reason in parameters["degraded"].string_param.split(",") if reason],
        contract_digest=parameters["contract_digest"].string_param if "contract_digest" in parameters else "",
    )


def _strings(triton: Any, name: str, values: Sequence[str]) -> Any:
    tensor = triton.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode() for value in values], dtype=np.object_))
    return tensor
