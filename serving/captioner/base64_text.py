"""Images as text: base64 as clients really send it, and data URLs (RFC 2397)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from serving.captioner.refusal import ImageRefused

_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITE = b" \t\r\n\f\v"
_SCHEME = "data:"


def is_data_url(text: str) -> bool:
    """Whether `text` is meant as a data URL."""
    return text[: len(_SCHEME)].lower() == _SCHEME


@dataclass(frozen=True, slots=True)
class Base64:
    """An image still in base64, or in a data URL."""

    text: str

    def decode(self, field: str) -> bytes:
        """The bytes: of a data URL's content, or of base64 in the standard or the URL-safe alphabet, with or without
        padding, line breaks and blanks.

        Raises:
            ImageRefused: 400, neither.
        """
        text = self.text.strip()
        try:
            return _content(text) if is_data_url(text) else _decoded(text.encode("ascii"))
        except (binascii.Error, ValueError) as error:
            raise ImageRefused(
                "bad_base64",
                400,
                field,
                f"the text, which begins {text[:20]!r}, is not base64 ({error}): send the file's bytes in base64, "
                "or as data:image/png;base64,…",
            ) from error


def _content(url: str) -> bytes:
    """Raises ValueError for a data URL without a comma, or with base64 that is none."""
    head, comma, content = url.partition(",")
    if not comma:
        raise ValueError("a data URL has a comma before its content")
    data = unquote_to_bytes(content) if "%" in content else content.encode("ascii")
    return _decoded(data) if head.replace(" ", "").lower().endswith(";base64") else data


def _decoded(data: bytes) -> bytes:
    digits = data.translate(_STANDARD, _WHITE)
    bare = digits.rstrip(b"=")
    if len(digits) - len(bare) > 2:
        raise ValueError("more than two padding characters at its end")
    return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
