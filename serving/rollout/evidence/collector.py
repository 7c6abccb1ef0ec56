"""Evidence from the collector over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

import httpx

from serving.rollout.evidence.codec import (
    CodecError,
    QuantilesQuery,
    caps_from_json,
    evidence_from_json,
    names,
    quantiles_to_json,
    query_to_json,
)
from serving.rollout.experiment.evidence import Evidence, EvidenceError, EvidenceQuery
from serving.rollout.experiment.spec import Column

TOKEN_VARIABLE = "SIGHTLINE_COLLECTOR_TOKEN"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 330.0
"""A little longer than the collector gives a computation (--evidence-seconds)."""

Answer = TypeVar("Answer")


class CollectorEvidence:
    """The port `MetricSource`, answered by a collector. May be used by several threads."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        seconds: float = ANSWER_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` is the collector's base, http://collector:8090. Raises EvidenceError for one that is no URL."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            base = httpx.URL(url.rstrip("/"))
        except httpx.InvalidURL as cause:
            raise EvidenceError(f"the collector's address {url!r} is no URL: {cause}") from cause
        if base.scheme not in ("http", "https") or not base.host:
            raise EvidenceError(f"the collector's address is {url!r}; expected http://host:port")
        self._url = str(base)
        self._client = httpx.Client(headers=headers, timeout=timeout, trust_env=False, transport=transport)

    def evidence(self, query: EvidenceQuery) -> Evidence:
        """Ask. Raises EvidenceError: no answer, a refusal, or an answer to something else."""
        found = self._ask("/v1/evidence", lambda: query_to_json(query), evidence_from_json)
        wanted = names(query.columns, query.before)
        for moments in (found.moments, found.triggered, *(day.moments for day in found.days)):
            told = {arm: each.columns for arm, each in moments.items()}
            if told != dict.fromkeys(query.arms, wanted):
                raise EvidenceError(
                    f"the collector {self._url} answered columns {told}; expected {wanted} for each arm"
                )
        if found.as_of != query.as_of or set(found.exposed) != set(query.arms):
            raise EvidenceError(
                f"the collector {self._url} answered as of {found.as_of} for arms {sorted(found.exposed)}; "
                f"expected {query.as_of} and {sorted(query.arms)}"
            )
        return found

    def quantiles(self, columns: Mapping[Column, float], span: tuple[datetime, datetime]) -> Mapping[str, float]:
        """Caps by column name. Raises EvidenceError."""
        if not columns:
            return {}
        caps = self._ask("/v1/quantiles", lambda: quantiles_to_json(QuantilesQuery(columns, span)), caps_from_json)
        wanted = {column.name for column in columns}
        if set(caps) != wanted:
            raise EvidenceError(f"the collector {self._url} answered caps of {sorted(caps)}; expected {sorted(wanted)}")
        return caps

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, path: str, written: Callable[[], bytes], read: Callable[[bytes], Answer]) -> Answer:
        try:
            response = self._client.post(self._url + path, content=written())
            if response.status_code != 200:
                raise EvidenceError(f"the collector {self._url} answers {response.status_code}: {_reason(response)}")
            return read(response.content)
        except httpx.HTTPError as cause:
            raise EvidenceError(
                f"the collector {self._url} does not answer: {str(cause) or type(cause).__name__}; is it running, is "
                "the address right, does the network let this pod reach it?"
            ) from cause
        except CodecError as cause:
            raise EvidenceError(f"the collector {self._url}: {cause}") from cause


def _reason(response: httpx.Response) -> str:
    return response.text[:500] or response.reason_phrase
