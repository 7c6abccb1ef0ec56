"""What a webhook is told of a decision."""

import json
from typing import Any

import pytest

from serving.rollout.report.notice import payload


def told(format: str, **changes: Any) -> dict[str, Any]:
    given = {
        "experiment": "captions",
        "namespace": "shop",
        "reason": "GuardrailBreached",
        "message": "p99 is 0.4 s; at most 0.2 s is accepted",
        "warning": True,
    }
    return payload(format, **{**given, **changes})


def test_the_json_notice_says_everything_in_fields() -> None:
    assert told("json") == {
        "version": 1,
        "experiment": "captions",
        "namespace": "shop",
        "reason": "GuardrailBreached",
        "message": "p99 is 0.4 s; at most 0.2 s is accepted",
        "severity": "warning",
        "more": "sightline experiment status --namespace shop captions",
    }
    assert told("json", warning=False)["severity"] == "normal"


def test_the_slack_notice_has_a_text_and_the_same_in_blocks() -> None:
    made = told("slack")
    assert made["text"].startswith(":warning: Experiment *captions* in shop: *GuardrailBreached*\np99 is 0.4 s")
    assert [block["type"] for block in made["blocks"]] == ["section", "section", "context"]
    assert made["blocks"][1]["text"] == {"type": "mrkdwn", "text": "p99 is 0.4 s; at most 0.2 s is accepted"}
    assert ":warning:" not in json.dumps(told("slack", warning=False))


def test_a_message_cannot_mention_people_or_make_links() -> None:
    made = json.dumps(told("slack", message="<!channel> a < b & <https://elsewhere.example|click>"))
    assert "<!channel>" not in made
    assert "<https" not in made
    assert "&lt;!channel&gt; a &lt; b &amp;" in made


def test_a_message_that_slack_would_refuse_is_cut_at_a_word() -> None:
    made = told("slack", message="word " * 2000)
    text = made["blocks"][1]["text"]["text"]
    assert len(text) < 3000
    assert text.endswith("word …")
    assert told("slack", message="")["blocks"][1]["text"]["text"] == "(no message)"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format is 'teams'; expected one of json, slack"):
        told("teams")
