"""A candidate whose Triton dies, hangs, serves another contract, or whose bundle is another: its users get stable."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.experiments.assignment import STABLE
from models.items import ItemRow
from models.triton.repository import place_model
from serving.ranker.command import TritonCommand
from serving.stack.triton_server import free_port, is_ready, load_model

TIMEOUT, CANDIDATE_TIMEOUT, PAUSE = 2.4, 0.8, 1.0
ITEMS = [str(i) for i in range(1, 13)]
USERS = [f"user {i}" for i in range(64)]
# Why an arm gave no answer: it was asked in vain, or nobody asked it, as the breaker or the look at its health said.
ASKED, SPARED = "predictor_deadline", ("paused", "not_ready")


@dataclass
class World:
    """A candidate's Triton that may be killed, and a transformer whose stable Triton is whole."""

    command: TritonCommand
    book: Any
    transformer: Any
    arm: Any
    metric: Callable[..., float]
    client: httpx.Client
    revision: int = 0
    triton: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.command.prepare()
        self.triton = subprocess.Popen(
            self.command.argv,
            env=self.command.env(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self) -> None:
        if self.triton is not None:
            os.killpg(self.triton.pid, signal.SIGKILL)
            self.triton.wait()
            self.triton = None

    def stop(self) -> None:
        """End it the polite way, which leaves no shared memory behind."""
        if self.triton is not None:
            self.triton.terminate()
            try:
                self.triton.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        assert self.triton is not None
        os.killpg(self.triton.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.triton.pid, signal.SIGCONT)

    def publish(self, until: Callable[..., None], arm: Any = None, **more: Any) -> None:
        self.revision += 1
        assignment = self.book.assignment(arm or self.arm, revision=self.revision, **{"share": 5000, **more})
        self.book.write(assignment)
        gauge = 'sightline_assignment_revision{experiment="captions",model="ranker"}'
        until(lambda: self.metric(self.transformer, gauge) == self.revision)
        self.placed = {user: assignment.place(user) for user in USERS}

    def users(self, arm: str) -> list[str]:
        return [user for user, place in self.placed.items() if place.arm == arm]

    def ask(self, user: str) -> dict[str, Any]:
        return self.ask_all([user])[0]

    def ask_all(self, users: Sequence[str]) -> list[dict[str, Any]]:
        candidates = [{"item_id": item} for item in ITEMS]
        body = {"instances": [{"user_id": user, "candidates": candidates} for user in users]}
        answer = self.client.post(f"{self.transformer.url}/v1/models/ranker:predict", json=body)
        assert answer.status_code == 200, answer.text
        predictions: list[dict[str, Any]] = answer.json()["predictions"]
        return predictions

    def timed(self, users: Sequence[str]) -> list[float]:
        seconds = []
        for user in users:
            start = time.perf_counter()
            self.ask(user)
            seconds.append(time.perf_counter() - start)
        return sorted(seconds)

    def counted(self, name: str, **more: str) -> float:
        labels = {"arm": "candidate", "experiment": "captions", "model": "ranker", **more}
        text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        return self.metric(self.transformer, f"sightline_{name}{{{text}}}")

    def arm_ready(self) -> bool:
        return self.counted("arm_ready") == 1


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    stack: Any,
    triton: Any,
    with_captions: Any,
    ids_only: Any,
    rows: list[ItemRow],
    book_at: Callable[[Path], Any],
    metric: Callable[..., float],
    until: Callable[..., None],
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    place_model(folder / "repository", "ranker", ids_only, platform="python")
    (folder / "work").mkdir()
    command = TritonCommand(
        folder / "repository", free_port(), free_port(), free_port(), folder / "work", reload_key="a key"
    )
    store, book = stack.fill(folder / "store", rows), book_at(folder / "book.json")
    made = World(command, book, None, book.arm(ids_only, "ranker", command.grpc_port), metric, httpx.Client(timeout=20))
    settings = {
        "assignments": book.path,
        "assignment_seconds": 0.1,
        "tell_arm": "true",
        "predictor_request_timeout_seconds": TIMEOUT,
        "candidate_timeout_seconds": CANDIDATE_TIMEOUT,
        "candidate_failures": 3,
        "candidate_pause_seconds": PAUSE,
        "shadow_concurrency": 2,
    }
    more = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    try:
        made.start()
        bundle = with_captions.bundle.path
        with stack.running_transformer(folder, bundle, store, triton.grpc, *more) as running:
            made.transformer = running
            until(lambda: is_ready(command.http_port), 60)
            yield made
    finally:
        made.client.close()
        made.stop()


@pytest.fixture
def whole(world: World, until: Callable[..., None]) -> World:
    """The candidate serves, its breaker is closed, and half of the users are its own."""
    world.publish(until)
    until(world.arm_ready, 40)
    user = world.users("candidate")[0]
    until(lambda: world.ask(user)["degraded"] == [])
    return world


def test_users_of_a_dead_candidate_get_stable_and_come_back(
    whole: World, until: Callable[..., None], with_captions: Any, ids_only: Any
) -> None:
    mine, other = whole.users("candidate")[:6], whole.users(STABLE)[0]
    before = {user: whole.ask(user) for user in mine}
    assert {found["contract_digest"] for found in before.values()} == {ids_only.contract.digest}
    counts = {outcome: whole.counted("arm_requests_total", outcome=outcome) for outcome in ("ok", "fallback")}
    whole.kill()
    for user in mine:
        found = whole.ask(user)
        assert found["contract_digest"] == with_captions.bundle.contract.digest
        assert (found["arm"], found["degraded"]) == ("candidate", ["candidate_unavailable"])
    assert whole.ask(other)["degraded"] == []
    assert whole.counted("arm_requests_total", outcome="fallback") == counts["fallback"] + len(mine)
    assert whole.counted("arm_requests_total", outcome="ok") == counts["ok"]
    until(lambda: not whole.arm_ready())
    assert whole.transformer.ready(), "stable answers"
    whole.ask(mine[0])
    assert whole.counted("arm_failures_total", reason="not_ready") >= 1
    whole.start()
    until(whole.arm_ready, 40)
    until(lambda: whole.ask(mine[0]) == before[mine[0]])


def test_a_hanging_candidate_costs_few_users_its_part_of_the_time_and_the_others_nothing(
    whole: World, until: Callable[..., None]
) -> None:
    mine = whole.users("candidate")[:20]
    with whole.hanging():
        before = {reason: whole.counted("arm_failures_total", reason=reason) for reason in (ASKED, *SPARED)}
        seconds = whole.timed(mine)
        assert seconds[-1] >= CANDIDATE_TIMEOUT
        assert seconds[len(seconds) // 2] < CANDIDATE_TIMEOUT
        more = {reason: whole.counted("arm_failures_total", reason=reason) - count for reason, count in before.items()}
        assert 3 <= more[ASKED] <= 6, "as many as open the breaker, and those who look again"
        assert sum(more[reason] for reason in SPARED) == len(mine) - more[ASKED], "nobody else asks it"
    until(lambda: whole.ask(mine[0])["degraded"] == [])


def test_the_fallback_is_inside_the_callers_deadline(whole: World) -> None:
    user = whole.users("candidate")[0]
    tensors = [
        {"name": "user_id", "datatype": "BYTES", "shape": [1], "data": [user]},
        {"name": "item_id", "datatype": "BYTES", "shape": [len(ITEMS)], "data": ITEMS},
    ]
    body = {"inputs": tensors, "parameters": {"timeout": 700_000}}
    with whole.hanging():
        start = time.perf_counter()
        answer = httpx.post(f"{whole.transformer.url}/v2/models/ranker/infer", json=body)
        took = time.perf_counter() - start
    assert answer.status_code == 200, answer.text
    assert answer.json()["parameters"]["degraded"] == "candidate_unavailable"
    assert took < 0.7


def test_a_candidate_of_another_contract_never_gives_a_score(
    whole: World, until: Callable[..., None], with_captions: Any, ids_only: Any
) -> None:
    user = whole.users("candidate")[0]
    before = whole.ask(user)
    place_model(whole.command.repository, "ranker", with_captions.bundle, platform="python", replace=True)
    load_model(whole.command.http_port, "ranker", key="a key")
    until(lambda: not whole.arm_ready())
    found = whole.ask(user)
    assert (found["arm"], found["degraded"]) == ("candidate", ["candidate_unavailable"])
    log = whole.transformer.log.read_text()
    assert f"arm candidate is not ready: Triton serves contract {with_captions.bundle.contract.digest}" in log
    place_model(whole.command.repository, "ranker", ids_only, platform="python", replace=True)
    load_model(whole.command.http_port, "ranker", key="a key")
    until(lambda: whole.ask(user) == before)


def test_a_bundle_that_is_not_the_one_named_is_refused_and_tried_again(
    world: World, until: Callable[..., None], ids_only: Any
) -> None:
    wrong = world.arm.model_copy(update={"bundle_id": f"sha256:{'0' * 64}"})
    world.publish(until, wrong)
    user = world.users("candidate")[0]
    assert world.ask(user)["degraded"] == ["candidate_unavailable"]
    assert not world.arm_ready()
    assert world.counted("arm_failures_total", reason="not_built") >= 1
    says = f"has bundle_id {ids_only.id}, the assignment names sha256:{'0' * 64}"
    until(lambda: world.transformer.log.read_text().count(says) >= 2)
    world.publish(until)
    until(lambda: world.ask(user)["degraded"] == [])


def test_readiness_follows_the_arm_that_everybody_gets(whole: World, until: Callable[..., None]) -> None:
    whole.publish(until, share=1000, everyone="candidate")
    assert whole.transformer.ready()
    whole.kill()
    until(lambda: not whole.transformer.ready())
    error = httpx.get(f"{whole.transformer.url}/v2/health/ready").json()["error"]
    assert "model 'ranker' is not ready" in error
    assert whole.ask(USERS[0])["degraded"] == ["candidate_unavailable"], "who asks all the same gets stable"
    whole.start()
    until(whole.transformer.ready, 40)
    assert whole.ask(USERS[0])["degraded"] == []


def test_with_stable_away_the_arm_that_everybody_gets_is_enough(
    whole: World, stack: Any, with_captions: Any, until: Callable[..., None], tmp_path: Path
) -> None:
    whole.publish(until, share=1000, everyone="candidate")
    bundle, nobody = with_captions.bundle.path, free_port()
    more = ("--assignments", str(whole.book.path), "--tell_arm", "true")
    store = whole.transformer.store
    with stack.running_transformer(tmp_path, bundle, store, nobody, *more) as alone:
        instance = {"user_id": USERS[0], "candidates": [{"item_id": item} for item in ITEMS]}
        answer = httpx.post(f"{alone.url}/v1/models/ranker:predict", json={"instances": [instance]})
        assert answer.json()["predictions"][0] == whole.ask(USERS[0])


def test_a_shadow_is_compared_and_its_user_sees_stable_only(
    whole: World, until: Callable[..., None], with_captions: Any
) -> None:
    whole.publish(until, share=0, shadow=10_000)
    ok = whole.counted("shadow_total", outcome="ok")
    for user in USERS[:8]:
        found = whole.ask(user)
        assert found["contract_digest"] == with_captions.bundle.contract.digest
        assert "arm" not in found
        time.sleep(0.05)
    until(lambda: whole.counted("shadow_total", outcome="ok") >= ok + 6)
    done = whole.counted("shadow_total", outcome="ok")
    assert whole.counted("shadow_difference_count") == done
    assert 0 < whole.counted("shadow_difference_sum") / done < 1
    assert 0 < whole.counted("shadow_overlap_sum") / done <= 1, "ten of the twelve are in both tops at least in part"


def test_a_hanging_shadow_delays_nobody_and_what_is_too_much_is_dropped(
    whole: World, until: Callable[..., None]
) -> None:
    whole.publish(until, share=0, shadow=10_000)
    whole.ask_all(USERS[:16])
    until(lambda: whole.counted("shadow_overlap_count") >= 2)
    time.sleep(0.2)  # until the shadows of that call are over
    dropped = whole.counted("shadow_total", outcome="dropped")
    failed = whole.counted("shadow_total", outcome="failed")
    with whole.hanging():
        start = time.perf_counter()
        found = whole.ask_all(USERS[:16])
        took = time.perf_counter() - start
        until(lambda: whole.counted("shadow_total", outcome="failed") == failed + 2)
        assert whole.counted("shadow_total", outcome="dropped") == dropped + 14
        assert whole.timed(USERS[:10])[5] < CANDIDATE_TIMEOUT / 2
    assert [prediction["degraded"] for prediction in found] == [[]] * 16
    assert took < CANDIDATE_TIMEOUT


def test_the_process_is_never_broken_by_any_of_this(world: World) -> None:
    assert world.transformer.process.poll() is None
    log = world.transformer.log.read_text()
    assert "Traceback" not in log
    assert "ended by an error" not in log
