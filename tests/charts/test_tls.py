"""What the chart asks of cert-manager, whose own definitions are not here, and who gets which file."""

import re
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from scenario import Scenario, every, load

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True}
ISSUER = {"name": TEXT, "kind": {"enum": ["Issuer", "ClusterIssuer"]}, "group": TEXT}
KEY = {
    "algorithm": {"enum": ["RSA", "ECDSA", "Ed25519"]},
    "size": {"enum": [256, 384, 521, 2048, 4096]},
    "encoding": {"enum": ["PKCS1", "PKCS8"]},
    "rotationPolicy": {"enum": ["Never", "Always"]},
}
DURATION = {"type": "string", "pattern": r"^([0-9]+(h|m|s))+$"}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, "required": list(required)}


# https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.CertificateSpec, of which these fields are used.
CERTIFICATE = closed(
    {
        "secretName": TEXT,
        "issuerRef": closed(ISSUER, "name"),
        "duration": DURATION,
        "renewBefore": DURATION,
        "dnsNames": TEXTS,
        "ipAddresses": TEXTS,
        "usages": {"type": "array", "items": {"enum": ["digital signature", "key encipherment", "server auth"]}},
        "privateKey": closed(KEY),
    },
    *("secretName", "issuerRef", "dnsNames"),
)


def certificates(scenario: Scenario) -> dict[str, Any]:
    return {each["metadata"]["name"].removeprefix("sightline-"): each["spec"] for each in scenario.kind("Certificate")}


def test_certificates_have_cert_managers_shape() -> None:
    found = [each for scenario in every() for each in scenario.kind("Certificate")]
    assert len(found) >= 6
    for each in found:
        assert each["apiVersion"] == "cert-manager.io/v1"
        assert list(Draft202012Validator(CERTIFICATE).iter_errors(each["spec"])) == []


def test_every_part_that_listens_has_one_and_a_secret_of_yours_is_left_to_you() -> None:
    assert certificates(load("tls")).keys() == {"ranker", "items", "captioner"}
    assert certificates(load("tls-operators")).keys() == {"ranker", "items", "captioner"}
    assert load("tls").pod("collector").volumes["tls"] == {"name": "tls", "secret": {"secretName": "our-collector"}}
    assert {each.name for each in every() if each.kind("Certificate")} == {"tls", "tls-operators"}


@pytest.mark.parametrize(
    ("name", "part", "service"),
    [
        ("tls", "items", "sightline-items"),
        ("tls", "captioner", "sightline-captioner"),
        ("tls", "ranker", "sightline-ranker"),
        ("tls-operators", "captioner", "sightline-captioner-serve-svc"),
        ("tls-operators", "ranker", "sightline-ranker-predictor"),
        ("tls-operators", "ranker", "sightline-ranker"),
    ],
)
def test_a_certificate_is_for_every_name_that_a_caller_may_write(name: str, part: str, service: str) -> None:
    names = set(certificates(load(name))[part]["dnsNames"])
    suffixes = ("", ".sightline", ".sightline.svc", ".sightline.svc.cluster.local")
    assert names >= {service + suffix for suffix in suffixes}


def mounts(pod: Any, container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["mountPath"]: pod.volumes[mount["name"]] for mount in container.get("volumeMounts", [])}


@pytest.mark.parametrize("name", ["tls", "tls-operators"])
def test_a_key_is_in_the_pods_of_its_own_part_alone(name: str) -> None:
    """Callers get the authority, and no key with it."""
    seen = {}
    for pod in load(name).pods:
        for volume in pod.volumes.values():
            if "secret" in volume:
                seen[pod.component] = volume["secret"]["secretName"]
            for source in volume.get("projected", {}).get("sources", []):
                assert [item["key"] for item in source["secret"]["items"]] == ["ca.crt"]
    expected = {part: f"sightline-{part}-tls" for part in ("items", "captioner", "ranker")}
    assert seen == expected | ({"collector": "our-collector"} if name == "tls" else {})


@pytest.mark.parametrize("name", ["tls", "tls-operators"])
def test_every_file_that_is_named_is_mounted(name: str) -> None:
    count = 0
    for pod in load(name).pods:
        for container in pod.containers:
            words = [*container.get("args", []), *(each.get("value", "") for each in container.get("env", []))]
            for word in (word for word in words if re.search("/etc/sightline/(tls|ca)/", word)):
                folder, _, leaf = word.rpartition("=")[2].rpartition("/")
                volume = mounts(pod, container)[folder]
                held = [i["path"] for s in volume.get("projected", {}).get("sources", []) for i in s["secret"]["items"]]
                assert leaf in (held or ["tls.crt", "tls.key", "ca.crt"]), (pod.component, word)
                count += 1
    assert count >= 7


def test_nothing_is_asked_in_clear_text_but_what_has_no_tls() -> None:
    """The transformer's own ports and Triton's HTTP."""
    plain = set()
    for pod in load("tls").pods:
        for container in pod.containers:
            plain |= {word for word in container.get("args", []) if "http://" in word or "redis://" in word}
    plain = {word for word in plain if "prometheus" not in word}
    assert plain == {
        "--transformer-http=http://sightline-transformer:8080",
        "--ranker-http=http://sightline-ranker:8080",
    }


def test_prometheus_expects_the_captioners_name_at_its_pods() -> None:
    (endpoint,) = load("tls-operators").one("PodMonitor", "sightline-captioner")["spec"]["podMetricsEndpoints"]
    assert (endpoint["scheme"], endpoint["tlsConfig"]["serverName"]) == ("https", "sightline-captioner-serve-svc")


def test_grpc_with_tls_is_no_clear_text_to_a_mesh() -> None:
    ports = [port for each in load("tls").kind("Service") for port in each["spec"]["ports"] if port["port"] == 9000]
    assert len(ports) == 2
    assert [port for port in ports if "appProtocol" in port] == []
