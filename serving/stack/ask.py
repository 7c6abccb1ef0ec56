"""Ask the running transformer for a ranking: V1 over REST, or the Open Inference Protocol over gRPC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from serving.stack.errors import StackError


@dataclass(frozen=True)
class Question:
    """Rank these items for this user in this context."""

    user_id: str
    items: Sequence[str]
    context: Mapping[str, int]

    def v1(self) -> dict[str, Any]:
        """The body of `POST /v1/models/<model>:predict`."""
        candidates = [{"item_id": item} for item in self.items]
        return {"instances": [{"user_id": self.user_id, "context": dict(self.context), "candidates": candidates}]}


def over_rest(address: str, model: str, question: Question, timeout: float = 30.0) -> dict[str, Any]:
    """The transformer's V1 answer for one user.

    Raises:
        StackError: it cannot be reached, or it refused; the message is its own.
    """
    url = f"http://{address}/v1/models/{model}:predict"
    try:
        answer = httpx.post(url, json=question.v1(), timeout=timeout, trust_env=False)
    except httpx.HTTPError as error:
        raise StackError(
            f"POST {url}: {error or type(error).__name__}; does the stack run? sightline status"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise StackError(f"POST {url}: {_refusal(answer)}")
    prediction: dict[str, Any] = orjson.loads(answer.content)["predictions"][0]
    return prediction


def _refusal(answer: httpx.Response) -> str:
    """The server's own sentence if it gave one, else what its status means."""
    try:
        said = orjson.loads(answer.content)["error"]
        said = said["message"] if isinstance(said, dict) else said
    except (ValueError, KeyError, TypeError):
        said = f"it answered {answer.status_code} {answer.reason_phrase}, and not as a transformer does"
    return f"{said} (HTTP {answer.status_code})"


def over_grpc(address: str, model: str, question: Question, timeout: float = 30.0) -> npt.NDArray[np.float32]:
    """The transformer's scores over gRPC.

    Returns:
        float32 [items], in the order of the question.

    Raises:
        StackError: it cannot be reached, or it refused; the message is its own.
    """
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    context = orjson.dumps(dict(question.context))
    inputs = [
        _bytes_tensor(triton, "user_id", [question.user_id]),
        _bytes_tensor(triton, "item_id", question.items),
        _bytes_tensor(triton, "context", [context.decode()]),
    ]
    try:
        with triton.InferenceServerClient(address) as client:
            answer = client.infer(model, inputs, client_timeout=timeout)
    except InferenceServerException as error:
        raise StackError(f"gRPC {address} {model}: {error}; does the stack run? sightline status") from error
    scores: npt.NDArray[np.float32] = answer.as_numpy("score")
    return scores


def _bytes_tensor(triton: Any, name: str, values: Sequence[str]) -> Any:
    tensor = triton.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode() for value in values], dtype=np.object_))
    return tensor
