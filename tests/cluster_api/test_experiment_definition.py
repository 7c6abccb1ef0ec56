"""The definition of Experiments in a real API server: it is taken, and refuses what the classes refuse."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from serving.rollout.operator.crd import text
from tests.cluster_api.conftest import ApiServer
from tests.operator.wrong_specs import WRONG, example


@pytest.fixture(scope="module")
def defined(api_server: ApiServer) -> ApiServer:
    done = api_server.kubectl("apply", "--filename", "-", given=text())
    assert done.returncode == 0, done.stderr
    api_server.kubectl("create", "namespace", "shop")
    deadline = time.monotonic() + 60
    while api_server.kubectl("get", "experiments").returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    return api_server


def test_the_example_is_taken(defined: ApiServer) -> None:
    done = defined.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=json.dumps(example()))
    assert done.returncode == 0, done.stderr


def test_each_wrong_setting_is_refused_with_the_sentence_of_the_classes(defined: ApiServer) -> None:
    items = []
    for number, (place, value, _) in enumerate(WRONG):
        made = example(place, value)
        made["metadata"]["name"] = f"wrong-{number}"
        items.append(made)
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    said = defined.kubectl("apply", "--dry-run=server", "-f", "-", given=given).stderr
    _, *parts = re.split(r'"(wrong-\d+)" is invalid', said)
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    missed = {
        f"{place}: {value!r}": told.get(f"wrong-{number}", "accepted")
        for number, (place, value, sentence) in enumerate(WRONG)
        if sentence not in told.get(f"wrong-{number}", "accepted")
    }
    assert missed == {}


_PLAIN = {"name": "plain", "numerator": {"event": "buy"}}
_CAPPED = {"name": "capped", "numerator": {"event": "purchase"}, "capQuantile": 0.99}
_LOW = {"name": "low", "numerator": {"event": "refund"}, "capLowerQuantile": 0.01}
_SUMS = {"kind": "sums", "query": "SELECT 1"}
_USERS = {"kind": "users", "exposures": "exposures", "outcomes": "outcomes"}


@pytest.mark.parametrize(
    ("sql", "metrics", "refused"),
    [
        (_SUMS, {}, False),
        (_SUMS, {"primaryMetric": _CAPPED}, True),
        (_SUMS, {"primaryMetric": _LOW}, True),
        (_SUMS, {"secondaryMetrics": [_CAPPED]}, True),
        (_SUMS, {"secondaryMetrics": [_LOW]}, True),
        (_SUMS, {"metricGuardrails": [{"metric": _CAPPED, "margin": 0.1}]}, True),
        (_SUMS, {"metricGuardrails": [{"metric": _LOW, "margin": 0.1}]}, True),
        (_USERS, {"primaryMetric": _CAPPED, "secondaryMetrics": [_LOW]}, False),
    ],
)
def test_caps_are_refused_wherever_they_stand_beside_sums_without_users(
    defined: ApiServer, sql: dict[str, Any], metrics: dict[str, Any], refused: bool
) -> None:
    made = example("spec.evidence", {"prometheus": "http://prometheus:9090", "sql": sql})
    made["spec"] |= {"primaryMetric": _PLAIN, "secondaryMetrics": [], "metricGuardrails": []} | metrics
    done = defined.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=json.dumps(made))
    sentence = (
        "metrics have caps and evidence.sql is of kind sums, which has no users to cap: leave quantiles out and cap in "
        "the query, or give single users (kind: users)"
    )
    assert (done.returncode != 0) is refused, done.stderr
    assert (sentence in done.stderr) is refused, done.stderr
