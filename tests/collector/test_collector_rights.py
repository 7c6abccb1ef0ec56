"""Who may do what: a token has one right, and a refusal says which right is missing and where it comes from."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serving.arguments import SettingsError
from serving.rollout.collector.rights import read_rights
from tests.collector.process import CLOUDEVENTS, TOKENS, Process, free_port
from tests.collector.sent import outcome

ROUTES = {
    "exposures": "exposures",
    "outcomes": "outcomes",
    "evidence": "evidence",
    "quantiles": "evidence",
    "users/forget": "forget",
}
JSON = {"content-type": "application/json"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_each_route_takes_the_token_of_its_right_alone(collector: Callable[..., Process]) -> None:
    process = collector()
    with process.client(auth=None) as client:
        for route, right in ROUTES.items():
            kind = CLOUDEVENTS if route == "exposures" else JSON
            for given in ({}, bearer("wrong"), {"authorization": TOKENS[right]}, {"authorization": "Bearer é"}):
                raw = {name: value.encode() for name, value in given.items()}
                told = client.post(f"/v1/{route}", content=b"[]", headers={**kind, **raw})
                assert (told.status_code, told.headers["www-authenticate"]) == (401, "Bearer"), (route, given)
                message = told.json()["error"]["message"]
                assert f"needs a token with the right '{right}'" in message
                assert f"SIGHTLINE_COLLECTOR_{right.upper()}_TOKEN" in message
                assert f"key '{right}' of the Secret" in message
            for other, token in TOKENS.items():
                told = client.post(f"/v1/{route}", content=b"[]", headers=kind | bearer(token))
                assert (told.status_code == 403) == (other != right), (route, other, told.text)
                assert told.status_code not in (401, 500)
                assert token not in told.text
    assert process.metric("sightline_collector_unauthorized_total", right="evidence", status="401") == 8
    assert process.metric("sightline_collector_unauthorized_total", right="forget", status="403") == 3
    assert not any(token in process.log for token in TOKENS.values())


def test_false_outcomes_of_somebody_without_the_right_are_not_stored(collector: Callable[..., Process]) -> None:
    process = collector()
    false = [outcome(f"false-{n}", f"u{n}", 1.0, event="purchase", value=1000.0) for n in range(400)]
    with process.client(auth=None) as client:
        for headers in ({}, bearer(TOKENS["exposures"]), bearer(TOKENS["evidence"])):
            assert client.post("/v1/outcomes", json=false, headers=headers).status_code in (401, 403)
    assert process.metric("sightline_collector_rows", kind="outcome") == 0


def test_numbers_are_on_another_port_where_nothing_can_be_sent(collector: Callable[..., Process]) -> None:
    process = collector()
    with process.client() as client:
        missing = client.get("/metrics")
        assert missing.status_code == 404
        assert "metrics are on --metrics-port" in missing.json()["error"]["message"]
        assert client.get("/health/ready").status_code == 200
    pages = f"http://127.0.0.1:{process.metrics_port}"
    sent = httpx.post(f"{pages}/v1/outcomes", json=[], headers=bearer(TOKENS["outcomes"]), trust_env=False)
    assert "stored" not in sent.text
    assert "sightline_collector_rows" in httpx.get(f"{pages}/metrics", trust_env=False).text


def test_a_right_without_a_token_is_nobodys(collector: Callable[..., Process]) -> None:
    process = collector(SIGHTLINE_COLLECTOR_FORGET_TOKEN="")
    told = process.post("/v1/users/forget", {"users": ["u1"]})
    assert told.status_code == 401
    assert "nobody has the right; start the collector with SIGHTLINE_COLLECTOR_FORGET_TOKEN" in told.text


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ({}, "no token is set"),
        ({"SIGHTLINE_COLLECTOR_TOKEN": "one-token-for-everything"}, "SIGHTLINE_COLLECTOR_TOKEN: one token gave every"),
        ({"SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN": "short"}, "the token of 'outcomes' has 5 characters"),
        ({"SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN": "0123456789abcdeé"}, "printable ASCII"),
        ({"SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN": "a@b 0123456789abcdef"}, "without space and @"),
        (
            {
                "SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN": "shop the-very-same-token",
                "SIGHTLINE_COLLECTOR_FORGET_TOKEN": "the-very-same-token",
            },
            "'forget' has the token of 'shop' in SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN",
        ),
    ],
)
def test_tokens_that_keep_no_rights_apart_are_refused_and_not_told(tokens: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as told:
        read_rights(tokens)
    assert words in str(told.value)
    assert not any(part in str(told.value) for token in tokens.values() for part in token.split() if len(part) > 15)


def test_a_collector_with_the_former_token_does_not_start(tmp_path: Path) -> None:
    process = Process(tmp_path, free_port(), environ={"SIGHTLINE_COLLECTOR_TOKEN": "one-token-for-everything"})
    done = subprocess.run(process.command(), capture_output=True, text=True, env=process.environment(), timeout=60)
    assert done.returncode == 2
    assert "SIGHTLINE_COLLECTOR_OUTCOMES_TOKEN (whoever sees what users do)" in done.stderr
    assert "one-token" not in done.stderr
