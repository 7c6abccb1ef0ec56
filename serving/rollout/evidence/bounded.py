"""Answers of other services: bounded in bytes and time, never decompressed, and never printed.

Who names an address could else have whatever answers there shown in a status, or the controller's memory filled.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import httpx

_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@'\"]*@")
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}")


class AnswerError(Exception):
    """An answer that is not read; the message has nothing of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `text` is for those who know its form, and for no message."""

    status: int
    kind: str
    content: bytes

    @property
    def shown(self) -> str:
        """Status and content type: all that a message may say of it."""
        return f"{self.status} ({self.kind})"


def ask(client: httpx.Client, method: str, url: str, *, most: int, seconds: float, **request: Any) -> Answer:
    """Send a request and read at most `most` bytes within `seconds`.

    Raises:
        AnswerError: the answer is larger, slower or compressed.
        httpx.HTTPError, httpx.InvalidURL: there is none.
    """
    ends = time.monotonic() + seconds
    headers = {**request.pop("headers", {}), "accept-encoding": "identity"}
    with client.stream(method, url, headers=headers, **request) as response:
        kind = content_type(response)
        coded = response.headers.get("content-encoding", "identity").lower()
        if coded != "identity":
            raise AnswerError(f"the answer {response.status_code} ({kind}) is compressed, which was not asked for")
        content = bytearray()
        for chunk in response.iter_bytes(65536):
            content += chunk
            if len(content) > most:
                raise AnswerError(f"the answer {response.status_code} ({kind}) has more than {most:,} bytes")
            if time.monotonic() > ends:
                raise AnswerError(f"the answer {response.status_code} ({kind}) took more than {seconds:g} s")
        return Answer(response.status_code, kind, bytes(content))


def content_type(response: httpx.Response) -> str:
    """The content type without parameters, where it looks like one."""
    found = _TYPE.match(response.headers.get("content-type", ""))
    return found.group() if found else "no content type"


def redacted(text: str) -> str:
    """The text without the user and password of any URL in it."""
    return _USERINFO.sub(r"\1…@", text)


def told(text: object, most: int = 300) -> str:
    """A text of a form of our own as a message shows it: printable and bounded."""
    return "".join(each if each.isprintable() else "?" for each in redacted(str(text))[:most])
