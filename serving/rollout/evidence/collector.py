"""Evidence from the collector over HTTP."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import httpx

from serving.rollout.evidence.bounded import Answer, AnswerError, ask, redacted, told
from serving.rollout.evidence.codec import (
    CodecError,
    caps_from_json,
    evidence_from_json,
    names,
    quantiles_to_json,
    query_to_json,
)
from serving.rollout.evidence.quantiles import QuantilesQuery
from serving.rollout.experiment.evidence import OTHERS, OWN, Evidence, EvidenceError, EvidenceQuery, sent_columns
from serving.rollout.experiment.spec import Column
from serving.rollout.statistics.winsor import CapRule, Caps
from serving.tls import CA_FILE, advice

TOKEN_VARIABLE = "SIGHTLINE_COLLECTOR_TOKEN"
CONNECT_SECONDS = 5.0
_AWAY = "is it running, is the address right, does the network let this pod reach it?"
ANSWER_SECONDS = 330.0
"""A little longer than the collector gives a computation (--evidence-seconds)."""

MOST_BYTES = 64 << 20
"""Of an answer: sums of 40 columns over a year's days take less."""

Found = TypeVar("Found")


class CollectorEvidence:
    """The port `MetricSource`, answered by a collector. May be used by several threads."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        verify: ssl.SSLContext | bool = True,
        seconds: float = ANSWER_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` is the collector's base, http://collector:8090. Raises EvidenceError for one that is no URL."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            base = httpx.URL(url.rstrip("/"))
        except httpx.InvalidURL as cause:
            raise EvidenceError(
                f"the collector's address {redacted(url)!r} is no URL: {redacted(str(cause))}"
            ) from cause
        if base.scheme not in ("http", "https") or not base.host:
            raise EvidenceError(f"the collector's address is {redacted(url)!r}; expected http://host:port")
        if base.userinfo:
            raise EvidenceError(
                f"the collector's address {redacted(url)!r} has a user or password, and addresses are logged; leave it "
                f"out: the token comes by {TOKEN_VARIABLE}"
            )
        self._url, self._seconds = str(base), seconds
        self._client = httpx.Client(
            headers=headers, timeout=timeout, trust_env=False, transport=transport, verify=verify
        )

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
        compared = tuple(f"{whose}{each.name}" for each in sent_columns(query.columns) for whose in (OWN, OTHERS))
        for sender in found.senders:
            of = {each.columns for each in sender.without.values()} | {each.columns for each in sender.parts.values()}
            if of != {wanted, compared} or not set(query.arms) == set(sender.parts) == set(sender.without):
                raise EvidenceError(
                    f"the collector {self._url} answered columns {sorted(of)} of a sender; expected {compared} and "
                    f"{wanted} for each arm"
                )
        if found.as_of != query.as_of or set(found.exposed) != set(query.arms):
            raise EvidenceError(
                f"the collector {self._url} answered as of {found.as_of} for arms {sorted(found.exposed)}; "
                f"expected {query.as_of} and {sorted(query.arms)}"
            )
        return found

    def quantiles(
        self, rules: Mapping[Column, CapRule], span: tuple[datetime, datetime], window: timedelta | None = None
    ) -> Caps:
        """Caps by column name. Raises EvidenceError."""
        if not rules:
            return Caps({})
        asked = QuantilesQuery(rules, span, window)
        caps = self._ask("/v1/quantiles", lambda: quantiles_to_json(asked), caps_from_json)
        wanted, found = {column.name for column in rules}, {*caps.largest, *caps.least}
        if found - wanted or (found != wanted and not caps.notes):
            raise EvidenceError(
                f"the collector {self._url} answered caps of {sorted(found)}; expected {sorted(wanted)}, or why not"
            )
        return caps

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, path: str, written: Callable[[], bytes], read: Callable[[bytes], Found]) -> Found:
        try:
            url, content = self._url + path, written()
            answer = ask(self._client, "POST", url, most=MOST_BYTES, seconds=self._seconds, content=content)
            if answer.status != 200:
                raise EvidenceError(f"the collector {self._url} answers {_reason(answer)}")
            return read(answer.content)
        except AnswerError as cause:
            raise EvidenceError(f"the collector {self._url}: {cause}") from cause
        except httpx.HTTPError as cause:
            raise EvidenceError(
                f"the collector {self._url} does not answer: {str(cause) or type(cause).__name__}; "
                f"{advice(cause, CA_FILE) or _AWAY}"
            ) from cause
        except CodecError as cause:
            raise EvidenceError(f"the collector {self._url}: {cause}") from cause


def _reason(answer: Answer) -> str:
    """Status and the error of a collector; of anything else the status and type alone."""
    try:
        error = json.loads(answer.content)["error"]
        if error.keys() == {"field", "message"} and all(isinstance(each, str) for each in error.values()):
            return f"{answer.status}: {told(error['field'], 100)}: {told(error['message'], 500)}"
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return f"{answer.shown}, which is no answer of a collector"
