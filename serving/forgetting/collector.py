"""A user's exposures and outcomes in a collector, over HTTP with the token of the right `forget`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from serving.forgetting.place import Found, PlaceError
from serving.rollout.evidence.bounded import AnswerError, ask, redacted, told
from serving.rollout.evidence.collector import TOKEN_VARIABLE
from serving.tls import CA_FILE, TlsError, advice, believed

SECONDS = 120.0
_MOST = 1 << 20
_AWAY = "is the address right, is it reachable from here (kubectl port-forward)?"


class CollectorPlace:
    """`url` is the collector's base, http://collector:8090."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        """Raises PlaceError for an address that is none."""
        shown = redacted(url)
        self.name, self._url = f"collector {shown}", url.rstrip("/")
        try:
            base = httpx.URL(url)
        except httpx.InvalidURL as cause:
            raise PlaceError(f"the collector's address {shown!r} is no URL; expected http://host:port") from cause
        if base.scheme not in ("http", "https") or not base.host or base.userinfo or base.path.strip("/"):
            raise PlaceError(
                f"the collector's address is {shown!r}; expected http://host:port alone: the token comes by "
                f"{TOKEN_VARIABLE}"
            )
        self._token = environ.get(TOKEN_VARIABLE, "")
        try:
            self._verify = believed(environ)
        except TlsError as cause:
            raise PlaceError(str(cause)) from cause

    def find(self, users: Sequence[str]) -> Found:
        """How many events there are."""
        return self._asked("find", users)

    def forget(self, users: Sequence[str]) -> Found:
        """Delete them, to the last byte of the collector's files."""
        return self._asked("forget", users)

    def _asked(self, what: str, users: Sequence[str]) -> Found:
        url, body = f"{self._url}/v1/users/{what}", orjson.dumps({"users": list(users)})
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._token}"}
        try:
            with httpx.Client(timeout=SECONDS, trust_env=False, verify=self._verify) as client:
                answer = ask(client, "POST", url, most=_MOST, seconds=SECONDS, content=body, headers=headers)
        except (httpx.HTTPError, AnswerError) as cause:
            raise PlaceError(
                f"does not answer: {told(cause) or type(cause).__name__}; {advice(cause, CA_FILE) or _AWAY}"
            ) from cause
        document = _document(answer.content)
        if answer.status != 200:
            raise PlaceError(f"answers {answer.status}: {_reason(document)}{self._hint(answer.status)}")
        try:
            return Found({kind: int(document[kind]) for kind in ("exposures", "outcomes")})
        except (KeyError, TypeError, ValueError) as cause:
            raise PlaceError(
                f"answers {answer.shown}, which is no collector's answer; is the address right?"
            ) from cause

    def _hint(self, status: int) -> str:
        if status not in (401, 403):
            return ""
        return f"; give it in {TOKEN_VARIABLE}, or the name of its file in {TOKEN_VARIABLE}_FILE"


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(document: dict[str, Any]) -> str:
    error = document.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    field = error.get("field") if isinstance(error, dict) else None
    return told(f"{field} {message}") if message else "no reason of a collector's; is the address right?"
