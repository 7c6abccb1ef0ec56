"""Where signatures and digests are demanded, every process that opens a bundle is told so, and with which keys."""

from pathlib import Path

import yaml

from charts.tooling.render import parse, render
from models.store.trust import KEYS, REQUIRE, Trust

SCENARIO = Path(__file__).parent / "scenarios" / "model-store-signed.yaml"
OPENERS = {"fetch-bundle", "transformer", "ranker", "controller", "publish"}


def environments(objects):
    """The environment of every container by its name: a name that two pods use must have the same in both."""
    found = {}
    for each in objects:
        template = (
            each.get("spec", {}).get("template", {}) if each["kind"] in ("Deployment", "StatefulSet", "Job") else {}
        )
        pod = template.get("spec", {})
        for container in [*pod.get("initContainers", ()), *pod.get("containers", ())]:
            environ = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", ())}
            trust = {name: environ.get(name) for name in (KEYS, REQUIRE)}
            assert found.setdefault(container["name"], (environ, trust))[1] == trust
    return {name: environ for name, (environ, _) in found.items()}


def test_every_process_that_opens_a_bundle_demands_what_the_values_demand():
    found = environments(parse(render([SCENARIO])))
    assert set(found) >= OPENERS
    for name in OPENERS:
        trust = Trust.of({key: found[name][key] for key in (KEYS, REQUIRE)})
        assert (len(trust.keys), trust.require) == (1, {"signature", "digest"}), name
    assert {name for name, environ in found.items() if REQUIRE in environ} == OPENERS


def test_only_the_jobs_that_publish_have_the_signing_key():
    found = environments(parse(render([SCENARIO], ["jobs.train.enabled=true", "jobs.lift.enabled=true"])))
    having = {name for name, environ in found.items() if "SIGHTLINE_SIGNING_KEY" in environ}
    assert having == {"train", "publish"}
    reference = {"secretKeyRef": {"name": "model-signing", "key": "key.pem"}}
    assert found["publish"]["SIGHTLINE_SIGNING_KEY"] == reference


def test_several_keys_are_given_one_after_the_other():
    (key,) = yaml.safe_load(SCENARIO.read_text())["model"]["trust"]["publicKeys"]
    found = environments(parse(render([SCENARIO], [f"model.trust.publicKeys={{{key},{key}}}"])))
    assert len(Trust.of({KEYS: found["transformer"][KEYS]}).keys) == 2


def test_by_default_nothing_is_demanded_and_no_process_has_the_variables():
    found = environments(parse(render()))
    assert not [name for name, environ in found.items() if {KEYS, REQUIRE} & set(environ)]


def test_kserve_gets_the_pinned_entry_without_the_digest():
    settings = ["model.source=store", f"model.uri=s3://models/ranker/7@sha256:{'a' * 64}"]
    settings += ["ranker.mode=inferenceservice", "ranker.inferenceService.storage=kserve"]
    (service,) = [each for each in parse(render(settings=settings)) if each["kind"] == "InferenceService"]
    assert service["spec"]["predictor"]["model"]["storageUri"] == "s3://models/ranker/7/repository"
