"""The Lease: one operator leads, and stops by itself before another one may begin."""

from datetime import UTC, datetime
from typing import Any

import pytest
import shop
from kube_api import Fault

from serving.rollout.experiment.ports import RetryError
from serving.rollout.kubernetes.api import CONFIG_MAP, Api
from serving.rollout.operator.lease import Elector

SECONDS = 15.0


class Time:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def elector(driver: Any, time: Time) -> Any:
    def make(identity: str, owner: str = "") -> Elector:
        return Elector(
            Api(driver.connected),
            namespace=shop.NAMESPACE,
            name="lease",
            identity=identity,
            seconds=SECONDS,
            now=lambda: datetime.fromtimestamp(time.now, UTC),
            monotonic=time,
            owner=owner,
        )

    return make


def test_the_first_one_leads_and_renews(elector: Any, time: Time, api: Any) -> None:
    first, second = elector("first"), elector("second")
    assert not first.leading()
    first.step()
    second.step()
    assert (first.leading(), second.leading()) == (True, False)
    for _ in range(20):
        time.now += 5
        first.step()
        second.step()
        assert (first.leading(), second.leading()) == (True, False)
    spec = api.store.get("leases", shop.NAMESPACE, "lease")["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == ("first", 0, 15)
    assert spec["renewTime"] > spec["acquireTime"]


def test_a_silent_leader_has_stopped_before_another_one_begins(elector: Any, time: Time, api: Any) -> None:
    first, second = elector("first"), elector("second")
    first.step()
    led: list[tuple[bool, bool]] = []
    for _ in range(40):
        second.step()
        led.append((first.leading(), second.leading()))
        time.now += 0.5
    assert (True, True) not in led
    assert led[0] == (True, False)
    assert (False, False) in led
    assert led[-1] == (False, True)
    assert api.store.get("leases", shop.NAMESPACE, "lease")["spec"]["leaseTransitions"] == 1
    first.step()
    assert not first.leading()


def test_a_leader_without_an_answer_stops_at_two_thirds(elector: Any, time: Time, api: Any) -> None:
    first = elector("first")
    first.step()
    api.faults[:] = [Fault(500, plural="leases", times=100)]
    for _ in range(9):
        time.now += 1
        with pytest.raises(RetryError):
            first.step()
        assert first.leading()
    time.now += 1.1
    assert not first.leading()
    with pytest.raises(RetryError, match="first does not hold Lease shop/lease"):
        first.require()
    api.faults.clear()
    first.step()
    assert first.leading()


def test_two_that_take_a_free_lease_at_the_same_time_do_not_both_get_it(elector: Any, time: Time, api: Any) -> None:
    first, second = elector("first"), elector("second")
    first.step()
    first.release()
    assert not first.leading()
    api.faults[:] = [Fault(409, "update", "leases")]
    with pytest.raises(RetryError):
        first.step()
    second.step()
    assert (first.leading(), second.leading()) == (False, True)


def test_nothing_is_written_without_the_lease(elector: Any, driver: Any, api: Any) -> None:
    guarded = Api(driver.connected, before_writing=elector("first").require)
    before = api.store.version
    with pytest.raises(RetryError, match="does not hold"):
        guarded.create(CONFIG_MAP, shop.NAMESPACE, {"metadata": {"name": "x"}})
    assert guarded.get(CONFIG_MAP, shop.NAMESPACE, "x") is None
    assert api.store.version == before


def test_a_lease_that_was_released_is_free_at_once(elector: Any) -> None:
    first, second = elector("first"), elector("second")
    first.step()
    second.step()
    first.release()
    second.step()
    assert second.leading()


def owners(api: Any) -> list[str]:
    found = api.store.get("leases", shop.NAMESPACE, "lease")["metadata"].get("ownerReferences") or ()
    return [each["uid"] for each in found]


def test_the_lease_goes_with_the_operators_deployment(elector: Any, api: Any) -> None:
    """One that an earlier version made is taken over with the leadership."""
    uid = api.store.get("deployments", shop.NAMESPACE, "sightline-ranker")["metadata"]["uid"]
    first = elector("first")
    first.step()
    first.release()
    assert owners(api) == []
    second = elector("second", "sightline-ranker")
    second.step()
    second.step()
    assert owners(api) == [uid]
    api.store.delete("deployments", shop.NAMESPACE, "sightline-ranker")
    assert api.store.find("leases", shop.NAMESPACE, "lease") is None
    second.step()
    assert (second.leading(), owners(api)) == (True, [])


def test_an_operator_that_may_not_read_its_deployment_leads_all_the_same(
    elector: Any, api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api.allowed.discard(("apps", "deployments", "get"))
    first = elector("first", "sightline-ranker")
    first.step()
    assert (first.leading(), owners(api)) == (True, [])
    assert "Lease lease stays when the operator goes" in caplog.text
