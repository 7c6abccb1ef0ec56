"""Exposures to a collector over HTTP, as batches of CloudEvents 1.0 in JSON.

Source: https://github.com/cloudevents/spec, JSON batch format and HTTP protocol binding.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import httpx

from models.experiments.events import EXPOSURE_TYPE, KEY_HEADER, KEY_VARIABLE, key_fingerprint
from serving.tls import CA_FILE, TlsError, advice, believed
from serving.transformer.exposures.sink import ExposureError, Line, SinkError

log = logging.getLogger("sightline.exposures")

CONTENT_TYPE = "application/cloudevents-batch+json"
TOKEN_VARIABLE = "SIGHTLINE_COLLECTOR_TOKEN"
TIMEOUT_SECONDS = 5.0
_AWAY = "is it running, is the address right, does the network let this pod reach it?"
_LONGEST_PAUSE = 30.0
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class CollectorSink:
    """A batch is one POST. The ids stay the same when it is tried again, so nothing counts twice."""

    def __init__(
        self,
        url: str,
        environment: Mapping[str, str],
        *,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        token = environment.get(TOKEN_VARIABLE)
        if token and not (token.isascii() and token.isprintable()):
            raise ExposureError(f"{TOKEN_VARIABLE} has characters that no header can carry; expected printable ASCII")
        headers = {"content-type": CONTENT_TYPE} | ({"authorization": f"Bearer {token}"} if token else {})
        if key := environment.get(KEY_VARIABLE):
            headers[KEY_HEADER] = key_fingerprint(key.encode())
        self._url, self._source = url, f"/sightline/transformer/{socket.gethostname()}"
        try:
            verify = believed(environment)
        except TlsError as cause:
            raise ExposureError(str(cause)) from cause
        self._client = httpx.Client(
            headers=headers, timeout=timeout, trust_env=False, transport=transport, verify=verify
        )

    def write(self, batch: Sequence[Line]) -> int:
        """Post the batch. Raises SinkError: `again` for what may get better, as soon as Retry-After allows."""
        body = b"[" + b",".join(self._event(line) for line in batch) + b"]"
        try:
            response = self._client.post(self._url, content=body)
        except httpx.HTTPError as cause:
            raise SinkError(
                f"the collector {self._url} does not answer: {cause or type(cause).__name__}; "
                f"{advice(cause, CA_FILE) or _AWAY}"
            ) from cause
        if not response.is_success:
            raise SinkError(
                f"the collector {self._url} answers {response.status_code}: {response.text[:300]}",
                again=response.status_code in _LATER,
                pause=_pause(response.headers.get("retry-after", "")),
            )
        return len(batch) - self._refused(response)

    def tend(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _refused(self, response: httpx.Response) -> int:
        """How many events of an accepted batch were refused: a collector of ours tells them one by one."""
        try:
            told = response.json()
            refused = int(told["refused"])
        except (ValueError, KeyError, TypeError):  # another receiver of CloudEvents, which says nothing of the kind
            return 0
        if refused:
            log.warning("the collector %s refuses %d exposures: %s", self._url, refused, str(told.get("faults"))[:300])
        return refused

    def _event(self, line: Line) -> bytes:
        head = {
            "specversion": "1.0",
            "id": line.id,
            "source": self._source,
            "type": EXPOSURE_TYPE,
            "time": datetime.fromtimestamp(line.time, UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
        }
        return json.dumps(head).encode()[:-1] + b',"data":' + line.body + b"}"


def _pause(retry_after: str) -> float:
    """Seconds of a Retry-After; a date, which no collector of ours sends, is none."""
    return min(float(retry_after), _LONGEST_PAUSE) if retry_after.isascii() and retry_after.isdigit() else 0.0
