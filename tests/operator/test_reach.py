"""Who may write an Experiment leads the controller to no address and no file but those of its settings."""

from typing import Any

import pytest
import shop
from outside_world import Outside

from serving.rollout.experiment.ports import RefusedError
from serving.rollout.kubernetes.bundles import StoreBundles
from serving.rollout.operator.reach import Reach
from serving.rollout.operator.settings import SettingsError, read_settings
from serving.rollout.operator.turn import Key

PLACE = ["--assignments=configmap://shop/book"]


def turned(api: Any, driver: Any, **evidence: str) -> str:
    """What the status says after a turn at an experiment with this evidence."""
    made = shop.experiment("captions", "/mnt/store/ranker/8", "http://allowed:8090")
    made["spec"]["evidence"].update(evidence)
    api.store.create("experiments", shop.NAMESPACE, made)
    driver.turns().turn(Key(shop.NAMESPACE, "captions"))
    return str(api.store.get("experiments", shop.NAMESPACE, "captions").get("status"))


@pytest.mark.parametrize("field", ["collector", "prometheus"])
def test_an_address_that_is_not_in_the_settings_is_refused_before_anything_is_sent(
    api: Any, driver: Any, outside: Outside, field: str
) -> None:
    driver.reach = Reach(collectors=("http://allowed:8090",), prometheus=("http://allowed:8090",))
    told = turned(api, driver, **{field: outside.url})
    assert f"spec.evidence.{field} is '{outside.url}', and the controller asks http://allowed:8090 alone" in told
    assert f"experiments.controller.{field}" in told


@pytest.mark.parametrize(
    "url",
    [
        "http://allowed:8090@evil:80",
        "http://me:hunter2@allowed:8090",
        "http://allowed:8090.evil",
        "http://allowed:80901",
        "http://allowed:8090/other",
        "https://allowed:8090",
        "http://169.254.169.254/latest",
    ],
)
def test_what_only_looks_like_an_allowed_address_is_refused(url: str) -> None:
    reach = Reach(collectors=("http://allowed:8090",))
    spec = shop_spec(collector=url)
    told = reach.refusal(spec)
    assert "spec.evidence.collector" in told
    assert "hunter2" not in told
    assert (
        Reach(collectors=("http://allowed:8090/",)).collector_refusal(shop_spec(collector="http://ALLOWED:8090")) == ""
    )


def shop_spec(**evidence: str) -> Any:
    from serving.rollout.report.resource import read

    made = shop.experiment("captions", "/mnt/store/ranker/8", "http://allowed:8090")
    made["metadata"] |= {"namespace": shop.NAMESPACE, "uid": "1"}
    del made["spec"]["evidence"]["prometheus"]
    made["spec"]["guardrails"] = []
    made["spec"]["evidence"].update(evidence)
    return read(made).spec


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "/mnt/store/../../etc/passwd",
        "/mnt/storehouse/ranker",
        "relative/path",
        "http://me:hunter2@models/ranker/8",
        "https://models/ranker/8",
        "s3://me:hunter2@shop/models/ranker/8",
        "s3://shop-of-others/models/ranker/8",
        "s3://shop/models/../../others",
        "simplecache::s3://shop/models/ranker/8",
        "s3://shop/models/x::file:///etc/passwd",
    ],
)
def test_a_bundle_elsewhere_is_refused_before_it_is_opened(uri: str) -> None:
    bundles = StoreBundles(Reach(bundles=("s3://shop/models/", "/mnt/store")).check_bundle)
    with pytest.raises(RefusedError, match=r"spec\.candidate\.bundle is .*(leave them out|allow the place)") as told:
        bundles.verify(uri)
    assert "hunter2" not in str(told.value)


def test_a_bundle_in_an_allowed_place_is_taken() -> None:
    reach = Reach(bundles=("s3://shop/models/", "/mnt/store"))
    for uri in ("s3://shop/models/ranker/8", "/mnt/store/ranker/8", "/mnt/store"):
        reach.check_bundle(uri)


def test_the_settings_give_no_address_by_themselves_and_refuse_schemes_that_read_this_machine() -> None:
    reach = read_settings(PLACE, {}).reach
    assert (reach.collectors, reach.prometheus) == ((), ())
    given = read_settings([*PLACE, "--collectors=http://a:1,http://b:2"], {}).reach
    assert given.collectors == ("http://a:1", "http://b:2")
    for place in ("file:///", "http://models/", "s3://me:hunter2@shop/", "models"):
        with pytest.raises(SettingsError, match="bundles: has") as told:
            read_settings([*PLACE, f"--bundles={place}"], {})
        assert "hunter2" not in str(told.value)
