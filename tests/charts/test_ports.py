"""SECURITY.md's table of ports: whom the policies let in, in words, and that it is whole."""

import re
from typing import Any

import pytest

from charts.tooling import ports
from charts.tooling.pods import Pod

ROW = re.compile(r"^\| (\w+) \| (\d+) `([\w-]+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


def pod(**labels: str) -> Pod:
    declared = [{"name": "http", "containerPort": 8080}]
    return Pod("Deployment/x", labels, {}, {"containers": [{"name": "x", "ports": declared}]})


def policy(selector: dict[str, Any], *ingress: dict[str, Any]) -> dict[str, Any]:
    return {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": list(ingress)}


OF_X = {"matchLabels": {"app": "x"}}


@pytest.mark.parametrize(
    ("policies", "who"),
    [
        ([], ["everybody"]),
        ([policy({"matchLabels": {"app": "y"}})], ["everybody"]),
        ([policy(OF_X)], []),
        ([policy({})], []),
        ([policy(OF_X, {"ports": [{"port": 8080}]})], ["everybody"]),
        ([policy(OF_X, {"from": [], "ports": [{"port": 8080}]})], ["everybody"]),
        ([policy(OF_X, {"from": [{"podSelector": {}}], "ports": [{"port": 9}]})], []),
        ([policy(OF_X, {"from": [{"podSelector": {}}]})], ["pods of the release's namespace"]),
        ([policy(OF_X, {"from": [{"namespaceSelector": {}}]})], ["every namespace"]),
        (
            [policy(OF_X, {"from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "test"}}}]})],
            ["test"],
        ),
    ],
)
def test_who_reaches_a_port_is_what_the_policies_let_in(policies: list[Any], who: list[str]) -> None:
    assert list(ports.peers(policies, pod(app="x"), 8080)) == who


def test_a_source_of_an_unknown_kind_is_refused() -> None:
    rule = {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}
    with pytest.raises(ports.PortsError, match=r"a policy names .*ipBlock"):
        list(ports.peers([policy(OF_X, rule)], pod(app="x"), 8080))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda needs: needs.pop(("items", "redis")), "port redis of items is rendered: say in"),
        (lambda needs: needs.update({("items", "old"): ""}), "port old of items is rendered no more"),
    ],
)
def test_the_table_has_every_port_and_no_other(monkeypatch: pytest.MonkeyPatch, change: Any, says: str) -> None:
    needs = dict(ports.NEEDS)
    change(needs)
    monkeypatch.setattr(ports, "NEEDS", needs)
    with pytest.raises(ports.PortsError, match=says):
        ports.security_text()


def test_the_file_is_up_to_date_and_lets_nobody_in_from_everywhere() -> None:
    text = ports.SECURITY.read_text()
    assert ports.security_text() == text
    rows = ROW.findall(text)
    assert len(rows) >= 15
    assert [row for row in rows if "everybody" in row[3] or "every namespace" in row[3]] == []
    assert {row[2] for row in rows if "kuberay" in row[3]} == {"serve", "dashboard"}
    assert [row[4] for row in rows if row[2] in ("dashboard", "client", "gcs-server") and "token" not in row[4]] == []
