"""Instant queries of Prometheus' HTTP API: numbers, or the reason why there is none.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx

from serving.rollout.evidence.bounded import Answer, AnswerError, ask, redacted, told

_SHOWN = 200
_MOST_BYTES = 4 << 20
"""An instant query of two arms has some kilobytes."""


class NoData(Exception):  # noqa: N818 - it is an answer, and no error of anybody
    """There is no number; the message says why."""


class NoPrometheus(NoData):
    """Prometheus does not answer: no other question need be asked now."""


class PrometheusApi:
    """Asks one Prometheus, at one moment."""

    def __init__(self, client: httpx.Client, url: str, now: datetime, timeout: float) -> None:
        self._client, self._url = client, url.rstrip("/")
        self._now, self._timeout = now, timeout

    def number(self, query: str) -> float:
        """The one finite number of a query. Raises NoData."""
        result = self._ask(query)
        if result["resultType"] == "scalar":
            return _finite(result["result"])
        series = _vector(result)
        if len(series) != 1:
            found = f"{len(series)} series" if series else "no series"
            raise NoData(f"the query gives {found}; expected one: sum(…) or another aggregation makes one of several")
        return _finite(series[0]["value"])

    def by_label(self, query: str, label: str) -> Mapping[str, float]:
        """Finite numbers by a label; empty where there are no series. Raises NoData."""
        return {str(each["metric"].get(label, "")): _finite(each["value"]) for each in _vector(self._ask(query))}

    def _ask(self, query: str) -> dict[str, Any]:
        form = {"query": query, "time": f"{self._now.timestamp():.3f}", "timeout": f"{self._timeout:g}s"}
        try:
            url = f"{self._url}/api/v1/query"
            answer = ask(self._client, "POST", url, most=_MOST_BYTES, seconds=2 * self._timeout, data=form)
        except (httpx.HTTPError, httpx.InvalidURL) as cause:
            message = f"Prometheus {self._url} does not answer: {cause or type(cause).__name__}"
            raise NoPrometheus(redacted(message)) from cause
        except AnswerError as cause:
            raise NoPrometheus(
                redacted(f"Prometheus {self._url}: {cause}; is evidence.prometheus its base URL?")
            ) from cause
        return self._data(answer)

    def _data(self, answer: Answer) -> dict[str, Any]:
        status = answer.status
        try:
            document = json.loads(answer.content)
            data, error = document.get("data"), document.get("error")
            missing = [each for each in document.get("warnings") or () if not str(each).startswith("PromQL ")]
        except (ValueError, AttributeError) as cause:
            kind = NoPrometheus if status >= 500 else NoData
            raise kind(
                f"{redacted(self._url)} answers {answer.shown} with what is no answer of Prometheus; is "
                "evidence.prometheus its base URL?"
            ) from cause
        if status != 200 or error or not isinstance(data, dict):
            ours = document.get("status") == "error" and isinstance(document.get("errorType"), str)
            raise NoData(f"Prometheus answers {told(error, _SHOWN) if ours else answer.shown}")
        if missing:
            raise NoData(f"Prometheus has a part of the data only: {told(missing[0], _SHOWN)}")
        return data


def _vector(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    if data["resultType"] != "vector":
        raise NoData(f"the query gives a {data['resultType']}; expected one number at one moment")
    series: list[dict[str, Any]] = data["result"]
    if any("value" not in each for each in series):
        raise NoData("the query gives a native histogram; expected a number: histogram_quantile(…) makes one of it")
    return series


def _finite(sample: Any) -> float:
    value = float(sample[1])
    if not math.isfinite(value):
        raise NoData(f"the query gives {sample[1]}; expected a finite number")
    return value
