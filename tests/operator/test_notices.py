"""Notices: events and webhooks, tried again within a bound; a failure is counted and harms nobody."""

import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import shop
from kube_api import Fault

from serving.rollout.experiment.spec import Notification
from serving.rollout.kubernetes.api import Api
from serving.rollout.kubernetes.notices import EventNotices
from serving.rollout.kubernetes.objects import Owner
from serving.rollout.operator.errands import Errands

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def notices(driver: Any, failures: list[str]) -> Callable[..., EventNotices]:
    def make(*hooks: Notification, full: bool = False) -> EventNotices:
        def submit(work: Callable[[], None]) -> bool:
            if not full:
                work()
            return not full

        return EventNotices(
            Api(driver.connected),
            driver.http,
            owner=Owner("captions", shop.NAMESPACE, "uid-1"),
            hooks=hooks,
            component="sightline-operator",
            now=lambda: NOW,
            submit=submit,
            failed=failures.append,
            pause=lambda seconds: None,
        )

    return make


def secret(api: Any, url: str, key: str = "url") -> None:
    data = {key: base64.b64encode(url.encode()).decode()}
    api.store.create("secrets", shop.NAMESPACE, {"metadata": {"name": "hook"}, "data": data})


def test_a_decision_is_an_event_of_the_experiment(notices: Any, api: Any, failures: list[str]) -> None:
    notices().tell("captions", "StageBegan", "é" * 2000, warning=False)
    notices().tell("captions", "RolledBack", "failures", warning=True)
    first, second = api.store.list("events", shop.NAMESPACE)
    assert (first["reason"], first["type"], second["type"]) == ("StageBegan", "Normal", "Warning")
    assert len(first["message"].encode()) <= 1000
    assert first["involvedObject"] == {
        "apiVersion": "sightline.dev/v1alpha1",
        "kind": "Experiment",
        "name": "captions",
        "namespace": "shop",
        "uid": "uid-1",
    }
    assert failures == []


@pytest.mark.parametrize("format", ["json", "slack"])
def test_webhooks_of_both_formats_are_told(
    notices: Any, api: Any, outside: Any, failures: list[str], format: str
) -> None:
    secret(api, f"{outside.url}/hook\n")
    notices(Notification(url_secret="hook", format=format)).tell("captions", "Won", "it has won", warning=False)
    (told,) = outside.notices
    assert ("text" in told) == (format == "slack")
    assert failures == []


def test_what_fails_is_tried_three_times_and_counted(
    notices: Any, api: Any, outside: Any, failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    secret(api, f"{outside.url}/hook?token=hidden")
    outside.hook_status = 503
    api.faults[:] = [Fault(500, "create", "events", times=3)]
    notices(Notification(url_secret="hook")).tell("captions", "Won", "it has won", warning=False)
    assert (len(outside.notices), failures) == (3, ["event", "webhook"])
    assert "Secret hook was not told: HTTP 503" in caplog.text
    assert "hidden" not in caplog.text
    outside.hook_status = 404
    notices(Notification(url_secret="hook")).tell("captions", "Won", "it has won", warning=False)
    assert (len(outside.notices), failures) == (4, ["event", "webhook", "webhook"])


@pytest.mark.parametrize(
    ("key", "url", "told"),
    [
        ("uri", "http://x", "has no key `url`"),
        ("url", "http://127.0.0.1:1/", "ConnectError"),
        ("url", "nothing", "told: U"),
    ],
)
def test_a_webhook_that_cannot_be_is_said(
    notices: Any, api: Any, failures: list[str], caplog: pytest.LogCaptureFixture, key: str, url: str, told: str
) -> None:
    secret(api, url, key)
    notices(Notification(url_secret="hook")).tell("captions", "Won", "it has won", warning=False)
    assert failures == ["webhook"]
    assert told in caplog.text


def test_a_missing_secret_is_said(notices: Any, failures: list[str], caplog: pytest.LogCaptureFixture) -> None:
    notices(Notification(url_secret="nowhere")).tell("captions", "Won", "it has won", warning=False)
    assert failures == ["webhook"]
    assert "Secret nowhere, which is not there" in caplog.text


def test_notices_beyond_the_bound_are_dropped_and_counted(
    notices: Any, failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        notices(full=True).tell("captions", "Won", "it has won", warning=False)
    assert failures == ["event"]
    assert "was dropped" in caplog.text
    errands, done = Errands(), []
    accepted = [errands.submit(lambda: done.append(1)) for _ in range(201)]
    assert accepted == [True] * 200 + [False]
