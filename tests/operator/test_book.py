"""The assignment book in a ConfigMap and in a real Redis: several writers, nothing lost."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import shop
from kube_api import Fault

from models.experiments.assignment import Arm, Assignment, AssignmentBook
from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.kubernetes.api import Api
from serving.rollout.kubernetes.book import BookAssignments, Page
from serving.rollout.kubernetes.config_map import ConfigMapPlace
from serving.rollout.kubernetes.redis_key import RedisPlace

DIGEST = "sha256:" + 64 * "a"


def assignment(uid: str = "u1", model: str = "ranker", revision: int = 1, share: int = 100) -> Assignment:
    arm = Arm(
        name="candidate", predictor_host="x:9000", model=model, bundle="b", bundle_id=DIGEST, contract_digest=DIGEST
    )
    return Assignment(
        experiment="captions",
        uid=uid,
        revision=revision,
        model=model,
        salt="12345678",
        arms=(arm,),
        share=share,
        shadow=0,
    )


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs Redis: apt-get install redis-server")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    folder: Path = tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([*command, "--requirepass", "secret"], stdout=subprocess.DEVNULL) as process:
        with redis.Redis(port=port, password="secret") as client:
            for _ in range(200):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


@pytest.fixture(params=["configmap", "redis"])
def place(request: pytest.FixtureRequest, driver: Any) -> Iterator[Callable[[], Any]]:
    """Makes places that lead to the same book, one per writer."""
    if request.param == "configmap":
        yield lambda: ConfigMapPlace(Api(driver.connected), namespace=shop.NAMESPACE, name="book")
        return
    url = request.getfixturevalue("redis_url") + f"?prefix={request.node.name}:"
    made: list[RedisPlace] = []

    def make() -> RedisPlace:
        made.append(RedisPlace(url, password="secret"))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_book_is_made_changed_and_emptied(place: Callable[[], Any]) -> None:
    book = BookAssignments(place())
    assert book.published("u1") is None
    book.withdraw("u1")
    book.publish(assignment())
    assert book.published("u1") == assignment()
    grown = assignment(revision=2, share=500)
    book.publish(grown)
    book.publish(grown)
    book.publish(assignment(uid="u2", model="other"))
    assert BookAssignments(place()).published("u1") == grown
    book.withdraw("u1")
    assert (book.published("u1"), book.published("u2")) == (None, assignment(uid="u2", model="other"))


def test_another_experiments_users_are_not_taken(place: Callable[[], Any]) -> None:
    book = BookAssignments(place())
    book.publish(assignment())
    with pytest.raises(RefusedError, match=r"in experiment captions \(uid u1\)"):
        book.publish(assignment(uid="u2"))
    assert book.published("u1") == assignment()


def test_a_writer_that_was_overtaken_changes_nothing(place: Callable[[], Any]) -> None:
    book = BookAssignments(place())
    book.publish(assignment(revision=3))
    with pytest.raises(RetryError, match="another operator is further"):
        book.publish(assignment(revision=2))
    assert book.published("u1") == assignment(revision=3)


def test_writers_at_the_same_time_lose_nothing(place: Callable[[], Any]) -> None:
    def write(number: int) -> None:
        book = BookAssignments(place())
        for revision in range(1, 6):
            while True:
                try:
                    book.publish(assignment(f"u{number}", f"m{number}", revision))
                    break
                except RetryError:
                    continue

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book = BookAssignments(place())
    assert [book.published(f"u{number}").revision for number in range(4)] == [5] * 4  # type: ignore[union-attr]


def test_a_book_that_always_changes_is_left_to_a_later_step() -> None:
    class Restless:
        def read(self) -> Page:
            return Page("", None)

        def write(self, text: str, version: Any) -> bool:
            return False

        def __str__(self) -> str:
            return "the book"

    with pytest.raises(RetryError, match="the book was changed by others 5 times"):
        BookAssignments(Restless()).publish(assignment())


def test_a_damaged_book_is_not_overwritten(driver: Any, api: Any) -> None:
    api.store.create("configmaps", shop.NAMESPACE, {"metadata": {"name": "book"}, "data": {"book.json": "{"}})
    book = BookAssignments(ConfigMapPlace(Api(driver.connected), namespace=shop.NAMESPACE, name="book"))
    with pytest.raises(RetryError, match="ConfigMap shop/book: the assignment cannot be used"):
        book.publish(assignment())
    assert api.store.get("configmaps", shop.NAMESPACE, "book")["data"] == {"book.json": "{"}


def test_other_keys_of_the_config_map_stay(driver: Any, api: Any) -> None:
    api.store.create("configmaps", shop.NAMESPACE, {"metadata": {"name": "book"}, "data": {"notes": "mine"}})
    book = BookAssignments(ConfigMapPlace(Api(driver.connected), namespace=shop.NAMESPACE, name="book"))
    api.faults[:] = [Fault(409, "update", "configmaps", times=2)]
    book.publish(assignment())
    data = api.store.get("configmaps", shop.NAMESPACE, "book")["data"]
    assert data["notes"] == "mine"
    assert AssignmentBook.from_json(data["book.json"]).assignments == (assignment(),)


def test_a_redis_that_is_away_or_does_not_let_in_is_an_answer_for_later(redis_url: str) -> None:
    for url, password, told in (
        ("redis://127.0.0.1:1/0", None, "cannot be read"),
        (redis_url, "wrong", "cannot be read"),
    ):
        place = RedisPlace(url, password=password)
        with pytest.raises(RetryError, match=told) as error:
            place.read()
        assert "secret" not in str(error.value)
        with pytest.raises(RetryError, match="cannot be written"):
            place.write("x", "")
        place.close()


@pytest.mark.parametrize("address", ["http://x", "redis://", "redis://user:pass@x/0", "redis://x/0?db=3"])
def test_an_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(ValueError, match="expected redis://host:port/number") as error:
        RedisPlace(address)
    assert "pass@" not in str(error.value)


def test_nothing_is_written_without_the_lease(redis_url: str) -> None:
    def refuse() -> None:
        raise RetryError("not the leader")

    place = RedisPlace(redis_url, password="secret", before_writing=refuse)
    with pytest.raises(RetryError, match="not the leader"):
        BookAssignments(place).publish(assignment())
    assert place.read().text == ""
    place.close()
