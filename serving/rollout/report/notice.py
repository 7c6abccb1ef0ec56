"""What a webhook is told of a decision: a JSON document of ours, or the body that Slack and its likes take.

Pure: the operator sends what these functions give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

Format = Literal["json", "slack"]
VERSION = 1
_LONGEST_TEXT = 2900
"""Slack refuses a section whose text is longer than 3,000 characters."""


def payload(format: str, experiment: str, namespace: str, reason: str, message: str, warning: bool) -> dict[str, Any]:
    """The body of a notification, ready for JSON.

    Args:
        format: `json`, or `slack` for Slack's incoming webhooks (Mattermost and Rocket.Chat take the same).
        reason: the decision in one word, as in the experiment's log and its events: StageStarted, GuardrailBreached.
        message: the decision in a sentence.
        warning: whether somebody should look at it.

    Raises:
        ValueError: there is no such format.
    """
    if format not in _FORMATS:
        raise ValueError(f"format is {format!r}; expected one of {', '.join(sorted(_FORMATS))}")
    return _FORMATS[format](experiment, namespace, reason, message, warning)


def _json(experiment: str, namespace: str, reason: str, message: str, warning: bool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "experiment": experiment,
        "namespace": namespace,
        "reason": reason,
        "message": message,
        "severity": "warning" if warning else "normal",
        "more": _command(experiment, namespace),
    }


def _slack(experiment: str, namespace: str, reason: str, message: str, warning: bool) -> dict[str, Any]:
    sign = ":warning:" if warning else ":test_tube:"
    title = f"{sign} Experiment *{_plain(experiment)}* in {_plain(namespace)}: *{_plain(reason)}*"
    said = _plain(message)
    shown = said if len(said) <= _LONGEST_TEXT else f"{said[:_LONGEST_TEXT].rpartition(' ')[0]} …"
    more = f"`{_command(experiment, namespace)}`"
    return {
        "text": f"{title}\n{shown}",  # what a phone's notification shows, and all that clients without blocks show
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": title}},
            {"type": "section", "text": {"type": "mrkdwn", "text": shown or "(no message)"}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": more}]},
        ],
    }


def _plain(text: str) -> str:
    """Text that Slack shows as it is: no links, mentions or entities are made of it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _command(experiment: str, namespace: str) -> str:
    return f"sightline experiment status --namespace {namespace} {experiment}"


_FORMATS: Mapping[str, Callable[[str, str, str, str, bool], dict[str, Any]]] = MappingProxyType(
    {"json": _json, "slack": _slack}
)
