"""The errors of the transformer. Each one carries the decision: HTTP status, gRPC code, and when to try again."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from models.contract import Fault

SHOWN_FAULTS = 20
SHOWN_CHARACTERS = 100


def shown(value: object) -> str:
    """The value as a message shows it: JSON-like and cut, so that an answer never echoes megabytes."""
    if isinstance(value, (Mapping, list, tuple)) and len(value) > 5:
        kind = "an object" if isinstance(value, Mapping) else "an array"
        return f"{kind} of {len(value)} entries"
    text = repr(value[: SHOWN_CHARACTERS + 1] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


class ServiceError(Exception):
    """Base of every refusal that a client sees."""

    http_status: ClassVar[int]
    grpc_code: ClassVar[str]
    outcome: ClassVar[str]

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON answer; `error` is a string, as the Open Inference Protocol wants it."""
        return {"error": self.message}


class InvalidRequestError(ServiceError):
    """The request cannot be served as it is written; all its faults are in `faults`."""

    http_status, grpc_code, outcome = 400, "INVALID_ARGUMENT", "invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[:SHOWN_FAULTS]]
        if len(self.faults) > SHOWN_FAULTS:
            lines.append(f"and {len(self.faults) - SHOWN_FAULTS} more faults")
        super().__init__(lines[0] if len(lines) == 1 else f"{len(self.faults)} faults:\n- " + "\n- ".join(lines))

    def body(self) -> dict[str, Any]:
        """`error` as one string, and `faults` one by one for programs."""
        listed = [
            {"field": f.path, "value": f.value, "expected": f.expected, "fix": f.fix}
            for f in self.faults[:SHOWN_FAULTS]
        ]
        return {"error": self.message, "faults": listed}


class BodyTooLargeError(ServiceError):
    """The body is over the byte limit; it was not read to its end."""

    http_status, grpc_code, outcome = 413, "RESOURCE_EXHAUSTED", "invalid"


class BodyTimeoutError(ServiceError):
    """The body did not come in time."""

    http_status, grpc_code, outcome = 408, "DEADLINE_EXCEEDED", "invalid"


class OverloadedError(ServiceError):
    """There is more to do now than this process takes on: try again later."""

    http_status, grpc_code, outcome = 503, "RESOURCE_EXHAUSTED", "overloaded"


class UnsupportedMediaError(ServiceError):
    """The body is compressed or of a type that is not read."""

    http_status, grpc_code, outcome = 415, "INVALID_ARGUMENT", "invalid"


class ForbiddenError(ServiceError):
    """The call asks for what its caller has no right to."""

    http_status, grpc_code, outcome = 403, "PERMISSION_DENIED", "forbidden"


class UnknownModelError(ServiceError):
    """No model of that name or version is served here."""

    http_status, grpc_code, outcome = 404, "NOT_FOUND", "unknown_model"


class NotSupportedError(ServiceError):
    """A part of the protocol that this server does not offer."""

    http_status, grpc_code, outcome = 501, "UNIMPLEMENTED", "not_supported"


class NotReadyError(ServiceError):
    """The predictor was not verified yet, or it serves another contract."""

    http_status, grpc_code, outcome = 503, "UNAVAILABLE", "not_ready"


class PredictorUnavailableError(ServiceError):
    """Triton cannot be reached: try again later."""

    http_status, grpc_code, outcome = 503, "UNAVAILABLE", "predictor_unavailable"


class PredictorDeadlineError(ServiceError):
    """Triton did not answer within the deadline."""

    http_status, grpc_code, outcome = 504, "DEADLINE_EXCEEDED", "predictor_deadline"


class PredictorAnswerError(ServiceError):
    """Triton refused the tensors, or answered with something that is not scores."""

    http_status, grpc_code, outcome = 502, "INTERNAL", "predictor_error"
