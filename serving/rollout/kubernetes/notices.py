"""Decisions, told: as Kubernetes events of the Experiment, and to the webhooks that its spec names."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

import httpx

from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.experiment.spec import Notification
from serving.rollout.kubernetes.api import EVENT, EXPERIMENT, SECRET, Api, Object
from serving.rollout.kubernetes.objects import Owner
from serving.rollout.report.notice import payload

log = logging.getLogger("sightline.operator")
_WAITS = (0.0, 0.5, 2.0)
"""Seconds before each try."""
_TIMEOUT_SECONDS = 5.0
_LONGEST_NOTE = 1000
"""Kubernetes takes 1,024 bytes."""
Submit = Callable[[Callable[[], None]], bool]
"""Has something done soon, by somebody else; False when too much waits already."""


class EventNotices:
    """`Notices` of one experiment. Nothing is raised and nothing waits: failures are logged and counted."""

    def __init__(
        self,
        api: Api,
        http: httpx.Client,
        *,
        owner: Owner,
        hooks: Sequence[Notification],
        component: str,
        now: Callable[[], datetime],
        submit: Submit,
        failed: Callable[[str], None],
        pause: Callable[[float], None],
    ) -> None:
        """`component` is who tells it. `pause` waits between tries, in seconds.

        `failed` counts what could not be given, by way: `event` or `webhook`.
        """
        self._api, self._http, self._owner, self._hooks = api, http, owner, tuple(hooks)
        self._component, self._now = component, now
        self._submit, self._failed, self._pause = submit, failed, pause

    def tell(self, experiment: str, reason: str, message: str, *, warning: bool) -> None:
        """Tell it to everybody, soon."""
        log.log(logging.WARNING if warning else logging.INFO, "experiment %s: %s: %s", experiment, reason, message)
        event = self._event(reason, message, warning)
        self._soon("event", lambda: self._send_event(event))
        for hook in self._hooks:
            body = payload(hook.format, experiment, self._owner.namespace, reason, message, warning)
            self._soon("webhook", lambda hook=hook, body=body: self._send_hook(hook.url_secret, body))  # type: ignore[misc]

    def _soon(self, way: str, work: Callable[[], None]) -> None:
        if not self._submit(work):
            log.error("experiment %s: a notice (%s) was dropped, too many wait", self._owner.name, way)
            self._failed(way)

    def _event(self, reason: str, message: str, warning: bool) -> Object:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "metadata": {"generateName": f"{self._owner.name}.", "namespace": self._owner.namespace},
            "involvedObject": {
                "apiVersion": EXPERIMENT.api_version,
                "kind": EXPERIMENT.name,
                "name": self._owner.name,
                "namespace": self._owner.namespace,
                "uid": self._owner.uid,
            },
            "reason": reason,
            "message": message.encode()[:_LONGEST_NOTE].decode(errors="ignore"),
            "type": "Warning" if warning else "Normal",
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }

    def _send_event(self, event: Object) -> None:
        trouble: Exception | None = None
        for wait in _WAITS:
            self._pause(wait)
            try:
                self._api.create(EVENT, self._owner.namespace, event)
            except RetryError as error:
                trouble = error
            except RefusedError as error:
                trouble = error
                break
            else:
                return
        log.error("experiment %s: its event was not written: %s", self._owner.name, trouble)
        self._failed("event")

    def _send_hook(self, secret: str, body: Object) -> None:
        try:
            url = self._url(secret)
        except (RetryError, RefusedError) as error:
            log.error("experiment %s: a webhook was not told: %s", self._owner.name, error)
            self._failed("webhook")
            return
        trouble = ""
        for wait in _WAITS:
            self._pause(wait)
            try:
                with self._http.stream("POST", url, json=body, timeout=_TIMEOUT_SECONDS) as answer:
                    pass  # its body is nothing to us, and may have any size
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                trouble = type(error).__name__  # its text may hold the address, which is a secret
                continue
            if answer.is_success:
                return
            trouble = f"HTTP {answer.status_code}"
            if answer.status_code < 500 and answer.status_code != 429:
                break
        log.error("experiment %s: the webhook of Secret %s was not told: %s", self._owner.name, secret, trouble)
        self._failed("webhook")

    def _url(self, secret: str) -> str:
        found = self._api.get(SECRET, self._owner.namespace, secret)
        coded = ((found or {}).get("data") or {}).get("url")
        if not coded:
            what = "has no key `url`" if found else "is not there"
            raise RefusedError(f"spec.notifications names Secret {secret}, which {what} in {self._owner.namespace}")
        try:
            return base64.b64decode(coded, validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise RefusedError(f"Secret {self._owner.namespace}/{secret}: its key `url` is no text") from error
