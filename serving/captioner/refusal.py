"""What the service refuses, with all that a caller needs to act on: code, HTTP status, field and message."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 (a refusal is an answer, not a fault)
    """A request or an image that gets no caption.

    Attributes:
        code: a stable word for programs, such as `too_many_pixels`; the label of the image counter too.
        status: the HTTP status this refusal is answered with when nothing else in the request succeeded.
        field: the part of the request that is at fault, such as `images[3].data`.
        message: one sentence for people: what was found, what was expected, what to do.
        retry_after: seconds after which the same request may succeed; None when repeating it cannot help.
    """

    def __init__(self, code: str, status: int, field: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(f"{code} ({status}) in {field}: {message}")
        self.code = code
        self.status = status
        self.field = field
        self.message = message
        self.retry_after = retry_after

    def payload(self) -> dict[str, str]:
        """The `error` object of the wire format."""
        return {"code": self.code, "field": self.field, "message": self.message}


class ImageRefused(Refusal):
    """One image that is refused; the other images of the same request go on."""


class RequestRefused(Refusal):
    """A whole request that is refused."""
