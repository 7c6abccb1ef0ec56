"""Guardrails against a real Prometheus: what it is not sure of is no pass, and says why."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from serving.rollout.evidence.prometheus import PrometheusGuardrails, _within
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.limits import spans as spans_of
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.statistics.quantile import Histogram, HistogramError
from serving.transformer.arm_metrics import ArmMetrics

FAILURES = {"name": "failures", "kind": "failures", "limit": 0.01}
SLOW = {"name": "slow", "kind": "p99Seconds", "limit": 0.1}
DEGRADED = {"name": "degraded", "kind": "degraded", "limit": 0.05}


def spec(url: str, *guardrails: dict[str, Any], model: str = "ranker") -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "target": {"kind": "InferenceService", "name": "sightline", "model": model},
            "candidate": {"bundle": "s3://models/ranker/7"},
            "primaryMetric": {"name": "clicks", "numerator": {"event": "click"}},
            "analysis": {"plannedUsers": 10_000},
            "evidence": {"collector": "http://collector:8090", "prometheus": url},
            "guardrails": [{"window": "1h", "minimumRequests": 20, **each} for each in guardrails],
        }
    )


@dataclass
class Site:
    """Transformers with an experiment of each kind behind a Prometheus."""

    url: str
    metrics: ArmMetrics
    exporting: dict[str, bool]

    def read(self, experiment: str, *guardrails: dict[str, Any], model: str = "ranker") -> list[Reading]:
        reader = PrometheusGuardrails()
        try:
            return list(reader.read(spec(self.url, *guardrails, model=model), experiment, datetime.now(UTC)))
        finally:
            reader.close()

    def number(self, query: str) -> float:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, trust_env=False).json()["data"]
        return float(answer["result"][0]["value"][1])


def serve(metrics: ArmMetrics, experiment: str, arm: str, *, model: str = "ranker", **rankings: int) -> None:
    """Count rankings by outcome (`ok`, `fallback`, `failed`), `degraded`, and `slow` ones among the ok."""
    labels = (model, experiment, arm)
    for outcome in ("ok", "fallback", "failed"):
        if outcome in rankings:
            metrics.requests.labels(*labels, outcome).inc(rankings[outcome])
    if experiment != "stuck":
        metrics.degraded.labels(*labels).inc(rankings.get("degraded", 0))
    slow = rankings.get("slow", 0)
    seconds = metrics.seconds.labels(*labels)
    for number in range(rankings.get("ok", 0)):
        seconds.observe(1.5 if number < slow else 0.004 + number % 5 / 1000)


def grow(metrics: ArmMetrics, times: int) -> None:
    for arm in ("stable", "candidate"):
        serve(metrics, "healthy", arm, ok=200 * times, degraded=4 * times)
        serve(metrics, "quiet", arm, ok=1 * times)
    serve(metrics, "failing", "stable", ok=200 * times, fallback=2 * times)
    serve(metrics, "failing", "candidate", ok=150 * times, fallback=40 * times, failed=10 * times)
    serve(metrics, "slow", "stable", ok=200 * times)
    serve(metrics, "slow", "candidate", ok=200 * times, slow=40 * times)
    serve(metrics, "unlucky", "candidate", ok=197 * times, slow=5 * times, fallback=3 * times)
    serve(metrics, "unseen", "stable", ok=200 * times)
    serve(metrics, "unseen", "candidate", ok=0)
    serve(metrics, "dead", "stable", ok=200 * times)
    serve(metrics, "dead", "candidate", fallback=8 * times)  # never ok, and never many
    serve(metrics, "stuck", "candidate", ok=100 * times)
    serve(metrics, "even", "stable", ok=200 * times)
    serve(metrics, "even", "candidate", ok=198 * times, fallback=2 * times)
    serve(metrics, "healthy", "candidate", model='odd"}\\', ok=200 * times)
    for _ in range(50 * times):
        metrics.seconds.labels("ranker", "stuck", "candidate").observe(60)


@pytest.fixture(scope="module")
def site(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    registry = CollectorRegistry()
    metrics, exporting = ArmMetrics(registry), {"now": True}
    grow(metrics, 0)  # series that begin at 0, as a process that starts has them
    export = servers.metrics(registry)

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        return export(path, body) if exporting["now"] else (503, b"")

    with (
        servers.http(answer) as exporter,
        servers.prometheus(tmp_path_factory.mktemp("prometheus"), exporter) as url,
    ):
        made = Site(url, metrics, exporting)
        until(lambda: _scrapes(made) >= 3)
        grow(metrics, 1)
        before = _scrapes(made)
        until(lambda: _scrapes(made) >= before + 5)
        yield made


def until(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _scrapes(site: Site) -> float:
    try:
        return site.number("sum_over_time(up[1h])")
    except IndexError:
        return 0.0


def test_a_healthy_arm_is_within_its_limits(site: Site) -> None:
    failures, slow, degraded = site.read("healthy", FAILURES, SLOW, DEGRADED)
    assert failures == Reading("failures", 0.0, 0.01, failures.detail, rankings=failures.rankings)
    assert failures.rankings == pytest.approx(200, rel=0.3)  # Prometheus extrapolates to the edges of its window
    assert failures.detail.startswith("0 of 2")
    assert slow.value == pytest.approx(0.00995, rel=0.02)
    assert degraded.value == pytest.approx(0.02, rel=0.05)
    assert not any(each.breached for each in (failures, slow, degraded))


def test_a_failing_arm_breaches(site: Site) -> None:
    (failures,) = site.read("failing", FAILURES)
    assert failures.value == pytest.approx(50 / 200, rel=0.02)
    assert failures.breached


def test_a_slow_arm_breaches_and_its_quantile_is_prometheus_own(site: Site) -> None:
    (slow,) = site.read("slow", SLOW)
    own = site.number(
        "histogram_quantile(0.99, sum by (le) "
        '(increase(sightline_arm_seconds_bucket{experiment="slow",arm="candidate"}[1h])))'
    )
    assert slow.value == pytest.approx(own, rel=1e-6)
    assert 1 < own < 2
    assert slow.breached


def test_an_arm_without_traffic_is_no_pass(site: Site) -> None:
    readings = site.read("nobody", FAILURES, SLOW, DEGRADED)
    assert [each.value for each in readings] == [None] * 3
    assert all(each.missing for each in readings)
    assert "candidate has no series sightline_arm_requests_total in 1 h; are transformers scraped" in readings[0].detail


def test_too_few_rankings_are_no_pass_and_no_fault_of_the_source(site: Site) -> None:
    for reading in site.read("quiet", FAILURES, SLOW, DEGRADED, {**FAILURES, "name": "more", "relative": True}):
        assert reading.value is None
        assert (reading.few, reading.missing) == (True, False)
        assert "candidate had 1 rankings in 12 h; at least 20 are needed (minimumRequests)" in reading.detail


def test_a_candidate_without_rankings_beside_a_stable_that_has_some_is_a_fault(site: Site) -> None:
    for reading in site.read("unseen", FAILURES, SLOW, DEGRADED):
        assert reading.missing
        assert "candidate had no rankings in 1 h and stable 2" in reading.detail


def test_a_value_above_its_limit_by_chance_is_no_breach(site: Site) -> None:
    failures, slow = site.read("unlucky", FAILURES, SLOW)
    assert failures.value == pytest.approx(3 / 200, rel=0.02)
    assert slow.value is not None
    assert slow.value > 1
    for reading in (failures, slow):
        assert (reading.above, reading.breached) == (True, False)


def test_rankings_of_an_earlier_experiment_of_the_name_are_not_looked_back_on(site: Site) -> None:
    asked: list[str] = []

    def count(request: httpx.Request) -> httpx.Response:
        asked.append(request.content.decode())
        return httpx.Response(503)

    now = datetime.now(UTC)
    reader = PrometheusGuardrails(transport=httpx.MockTransport(count))
    for lived, spans in ((None, {300, 3600, 43_200}), (timedelta(minutes=30), {300, 1800}), (timedelta(0), {300})):
        found = []
        for each in _within(spans_of(spec(site.url, {**FAILURES, "window": "5m"}).guardrails[0]), lived):
            found.append(each.total_seconds())
        assert set(found) == spans
    (reading,) = reader.read(spec(site.url, {**FAILURES, "window": "5m"}), "healthy", now, now)
    assert reading.missing
    assert "300000ms" in asked[0]
    reader.close()


def test_a_dead_arm_is_told_before_it_has_enough_rankings(site: Site) -> None:
    (failures,) = site.read("dead", FAILURES)
    assert failures.value == 1.0
    assert failures.breached
    assert re.match(r"(\d+) of \1 rankings in 1 h; within the limit that has a chance of", failures.detail)
    (tolerant,) = site.read("dead", {**FAILURES, "limit": 0.6})
    assert tolerant.value is None


def test_an_arm_beyond_the_last_bucket_breaches_or_says_that_it_cannot_tell(site: Site) -> None:
    short, long = site.read("stuck", SLOW, {**SLOW, "name": "long", "limit": 30})
    assert (short.value, short.breached) == (5.0, True)
    assert long.value is None
    assert "more than 1 % took longer than 5 s, the last bucket" in long.detail


def test_a_counter_that_is_not_scraped_is_no_zero(site: Site) -> None:
    (degraded,) = site.read("stuck", DEGRADED)
    assert degraded.value is None
    assert "no series sightline_arm_degraded_total" in degraded.detail


def test_relative_limits_compare_with_stable(site: Site) -> None:
    relative = {"relative": True, "limit": 2}
    failures, slow, degraded = site.read("failing", *({**each, **relative} for each in (FAILURES, SLOW, DEGRADED)))
    assert failures.value == pytest.approx((50 / 200) / (2 / 202), rel=0.02)
    assert slow.value == pytest.approx(1.0, rel=0.05)
    assert degraded.value == 0.0
    (slower,) = site.read("slow", {**SLOW, **relative})
    assert slower.value is not None
    assert slower.value > 100


def test_a_stable_without_any_failure_is_taken_as_one(site: Site) -> None:
    (failures,) = site.read("even", {**FAILURES, "relative": True, "limit": 3})
    assert failures.value == pytest.approx(2.0, rel=0.3)
    assert "stable 0 of 2" in failures.detail


def test_a_relative_limit_needs_both_arms(site: Site) -> None:
    (failures,) = site.read("stuck", {**SLOW, "relative": True, "limit": 2})
    assert failures.value is None


def test_a_query_of_ones_own_is_filled_in(site: Site) -> None:
    text = (
        'sum(increase(sightline_arm_requests_total{arm="$arm",model="$model",experiment=~"^${experiment}$"}[$window]))'
    )
    query = {"name": "own", "kind": "query", "limit": 1e6, "query": text}
    (absolute,) = site.read("failing", query)
    assert absolute.value == pytest.approx(200, rel=0.3)  # increase() extrapolates to the ends
    (relative,) = site.read("failing", {**query, "relative": True})
    assert relative.value == pytest.approx(200 / 202, rel=0.3)
    (short,) = site.read("failing", {**query, "window": "0.5h"})
    assert short.value == pytest.approx(200, rel=0.3)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_name_cannot_end_the_string_that_it_is_filled_into(site: Site, quote: str) -> None:
    text = f"sum(increase(sightline_arm_requests_total{{model={quote}$model{quote}}}[$window]))"
    (odd,) = site.read("healthy", {"name": "own", "kind": "query", "limit": 1, "query": text}, model='odd"}\\')
    assert odd.value == pytest.approx(200, rel=0.3)
    (failures,) = site.read("healthy", FAILURES, model='odd"}\\')
    assert failures.value == 0.0


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("vector(0) / 0", "gives NaN; expected a finite number"),
        ("scalar(vector(1)) / 0", r"gives \+Inf"),
        ("absent_metric", "no series"),
        ("sightline_arm_requests_total", r"[0-9]+ series; expected one: sum"),
        ("up[5m]", "gives a matrix"),
        ('"text"', "gives a string"),
        ("sum(", "answers .*parse error"),
        ('up{job="$job"}', r"the query has \['\$job'\]; expected \['\$arm', '\$model', '\$experiment', '\$window'\]"),
    ],
)
def test_what_is_no_number_is_no_pass(site: Site, query: str, says: str) -> None:
    (reading,) = site.read("healthy", {"name": "own", "kind": "query", "limit": 1, "query": query})
    assert reading.value is None
    assert not reading.breached
    assert re.search(says, reading.detail), reading.detail


def test_a_relative_query_needs_the_arm_and_a_positive_stable(site: Site) -> None:
    with pytest.raises(ValueError, match=r"needs \$arm in it"):
        spec("http://x", {"name": "own", "kind": "query", "limit": 1, "query": "up", "relative": True})
    zero = {"name": "own", "kind": "query", "limit": 1, "relative": True, "query": 'vector(0) unless up{x="$arm"}'}
    (reading,) = site.read("healthy", zero)
    assert reading.value is None
    assert "stable gives 0" in reading.detail


def test_an_exporter_that_is_gone_leaves_no_data(site: Site) -> None:
    site.exporting["now"] = False
    try:
        until(lambda: site.read("healthy", {**FAILURES, "window": "1s"})[0].value is None)
        (failures,) = site.read("healthy", {**FAILURES, "window": "1s"})
        assert "has no series sightline_arm_requests_total in 1 s" in failures.detail
    finally:
        site.exporting["now"] = True


def answering(servers: Any, status: int, document: object) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return servers.http(lambda _path, _body: (status, body))


@pytest.mark.parametrize(
    ("status", "document", "says"),
    [
        (503, b"upstream", "answers 503 (text/plain) with what is no answer of Prometheus; is"),
        (200, b"<html>", "is evidence.prometheus its base URL"),
        (200, [], "is evidence.prometheus its base URL"),
        (422, {"status": "error", "errorType": "timeout", "error": "query timed out"}, "answers query timed out"),
        (
            200,
            {"status": "success", "data": {"resultType": "vector", "result": []}, "warnings": ["store away"]},
            "a part",
        ),
    ],
)
def test_a_prometheus_that_does_not_answer_well_is_no_pass(
    servers: Any, status: int, document: object, says: str
) -> None:
    with answering(servers, status, document) as url:
        site = Site(url, None, {})  # type: ignore[arg-type]
        (reading,) = site.read("healthy", FAILURES)
    assert reading.value is None
    assert says in reading.detail


def test_a_prometheus_that_hangs_or_is_away_is_asked_once_for_all_guardrails(servers: Any, tmp_path: Path) -> None:
    asked = []

    def hang(path: str, _: bytes) -> tuple[int, bytes]:
        asked.append(path)
        time.sleep(0.6)
        return 200, b""

    with servers.http(hang) as url:
        reader = PrometheusGuardrails(timeout=0.2)
        readings = reader.read(spec(f"{url}/prefix/", FAILURES, SLOW, DEGRADED), "healthy", datetime.now(UTC))
    assert [each.value for each in readings] == [None] * 3
    assert all("does not answer: timed out" in each.detail for each in readings)
    assert asked == ["/prefix/api/v1/query"]
    (away,) = reader.read(spec(url, FAILURES), "healthy", datetime.now(UTC))
    assert "does not answer" in away.detail
    (none,) = reader.read(spec("http://[", FAILURES), "healthy", datetime.now(UTC))
    assert "does not answer" in none.detail
    reader.close()


def test_a_quantile_is_linear_within_its_bucket_and_so_is_what_lies_above() -> None:
    inf = float("inf")
    made = Histogram.of([0.1, 0.2, inf], [50, 100, 100])
    assert made.at(0.99) == pytest.approx(0.198)
    assert made.count_above(0.198) == pytest.approx(1.0)
    assert [made.count_above(edge) for edge in (0.0, 0.1, 0.2)] == [100, 50, 0]
    with pytest.raises(HistogramError, match=r"0.3 s is beyond 0.2 s, the last edge"):
        made.count_above(0.3)
    assert Histogram.of([0.1, inf], [100, 100]).at(0.5) == pytest.approx(0.05)
    assert Histogram.of([0.1, inf], [50, 100]).at(0.99) == inf
