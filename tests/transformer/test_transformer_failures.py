"""What the transformer does when Triton dies, serves another contract, or when the store is away."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from models.items import ItemRow, StoredCaption
from models.triton.repository import place_model
from serving.items.lmdb_store import LmdbStore
from serving.ranker.command import TritonCommand
from serving.stack.triton_server import free_port, load_model


@dataclass
class World:
    """A Triton and a transformer of these tests alone, which they may kill."""

    command: TritonCommand
    triton: subprocess.Popen[bytes] | None
    transformer: Any
    store: Path

    def start_triton(self) -> None:
        self.command.prepare()
        self.triton = subprocess.Popen(
            self.command.argv,
            env=self.command.env(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill_triton(self) -> None:
        if self.triton is not None:
            os.killpg(self.triton.pid, signal.SIGKILL)
            self.triton.wait()
            self.triton = None

    def stop_triton(self) -> None:
        """End it the polite way, which leaves no shared memory behind."""
        if self.triton is not None:
            self.triton.terminate()
            try:
                self.triton.wait(15)
            except subprocess.TimeoutExpired:
                self.kill_triton()

    def predict(self, *item_ids: str, **more: Any) -> httpx.Response:
        instance = {"user_id": "196", "candidates": [{"item_id": item_id} for item_id in item_ids], **more}
        url = f"{self.transformer.url}/v1/models/ranker:predict"
        return httpx.post(url, json={"instances": [instance]}, timeout=10)

    def ask(self, *item_ids: str) -> dict[str, Any]:
        response = self.predict(*item_ids)
        assert response.status_code == 200, response.text
        prediction: dict[str, Any] = response.json()["predictions"][0]
        return prediction

    def captions(self, *item_ids: str) -> dict[str, str]:
        return {entry["item_id"]: entry["caption"] for entry in self.ask(*item_ids)["ranking"]}

    def ready(self) -> bool:
        return bool(self.transformer.ready())


@pytest.fixture(scope="module")
def world(tmp_path_factory: Any, with_captions: Any, rows: list[ItemRow], stack: Any) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    place_model(folder / "repository", "ranker", with_captions.bundle, platform="python")
    (folder / "work").mkdir()
    command = TritonCommand(
        folder / "repository", free_port(), free_port(), free_port(), folder / "work", reload_key="a key"
    )
    store = stack.fill(folder / "store", rows)
    made = World(command, None, None, store)
    try:
        made.start_triton()
        bundle = with_captions.bundle.path
        more = ("--predictor_request_timeout_seconds", "1", "--max_body_bytes", "100000")
        with stack.running_transformer(folder, bundle, store, command.grpc_port, *more) as running:
            made.transformer = running
            yield made
    finally:
        made.stop_triton()


def test_a_dead_triton_gives_503_with_retry_after_and_its_return_is_noticed(world: World, until: Callable) -> None:
    before = world.ask("1", "2", "3")
    world.kill_triton()
    response = world.predict("1", "2", "3")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert "try again in 1.5 s" in response.json()["error"]
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{world.transformer.grpc_port}") as client:
        item_ids = triton_grpc.InferInput("item_id", [1], "BYTES")
        item_ids.set_data_from_numpy(np.array([b"1"], np.object_))
        user_id = triton_grpc.InferInput("user_id", [1], "BYTES")
        user_id.set_data_from_numpy(np.array([b"196"], np.object_))
        with pytest.raises(InferenceServerException) as raised:
            client.infer("ranker", [user_id, item_ids])
        assert raised.value.status() == "StatusCode.UNAVAILABLE"
        until(lambda: not world.ready())
        assert not client.is_server_ready()
        assert not client.is_model_ready("ranker")
        assert client.is_server_live()
    health = httpx.get(f"{world.transformer.url}/v2/health/ready")
    assert health.status_code == 503
    assert "model 'ranker' is not ready" in health.json()["error"]
    world.start_triton()
    until(world.ready, 40)
    assert world.ask("1", "2", "3") == before


def test_a_model_of_another_contract_is_refused_by_both_digests(
    world: World, until: Callable, stack: Any, ids_only: Any, with_captions: Any, tmp_path: Path
) -> None:
    place_model(world.command.repository, "ranker", ids_only, platform="python", replace=True)
    load_model(world.command.http_port, "ranker", key="a key")
    response = world.predict("1", "2")
    assert response.status_code in (502, 503), "a score of the other contract must never come out"
    until(lambda: not world.ready())
    error = httpx.get(f"{world.transformer.url}/v2/models/ranker/ready").json()["error"]
    assert ids_only.contract.digest in error
    assert with_captions.bundle.contract.digest in error
    assert "place that bundle in Triton" in error
    metrics = httpx.get(f"{world.transformer.url}/metrics").text
    assert 'sightline_model_ready{model="ranker"} 0.0' in metrics
    log = world.transformer.log.read_text()
    assert (
        f"ERROR sightline.transformer model ranker is not ready: Triton serves contract {ids_only.contract.digest}"
        in log
    )
    place_model(world.command.repository, "ranker", with_captions.bundle, platform="python", replace=True)
    load_model(world.command.http_port, "ranker", key="a key")
    until(world.ready)
    world.ask("1", "2")


def test_a_new_caption_is_seen_by_the_next_request(world: World, tokenizer: Any) -> None:
    assert world.captions("0", "1") == {"0": "missing", "1": "known"}
    before = {entry["item_id"]: entry["score"] for entry in world.ask("0", "1")["ranking"]}
    (tokens,) = tokenizer.encode(["a red car"])
    caption = StoredCaption("a red car", tokens, tokenizer.sha256, "tiny@1", "p")
    with LmdbStore.open(world.store) as store:
        store.put_many([ItemRow("0", caption, {"popularity": 0.0})])
    assert world.captions("0", "1") == {"0": "known", "1": "known"}
    after = {entry["item_id"]: entry["score"] for entry in world.ask("0", "1")["ranking"]}
    assert after["1"] == before["1"]
    assert abs(after["0"] - before["0"]) > 1e-4


def test_a_deleted_store_degrades_and_never_fails_and_comes_back(world: World, until: Callable) -> None:
    cached = world.ask("1", "2")
    kept = shutil.copytree(world.store, world.store.with_name("kept"))
    shutil.rmtree(world.store)
    found = world.ask("1", "2", "501")
    assert found["degraded"] == ["item_store_unavailable"]
    assert found["user_known"] is False
    about = {entry["item_id"]: (entry["caption"], entry["item"]) for entry in found["ranking"]}
    assert about["1"] == ("known", "known"), "rows in the cache still serve"
    assert about["501"] == ("missing", "unknown")
    metrics = httpx.get(f"{world.transformer.url}/metrics").text
    assert "sightline_item_store_up 0.0" in metrics
    assert 'sightline_degraded_total{model="ranker",reason="item_store_unavailable"}' in metrics
    assert world.ready(), "a dead store is no reason to take traffic away"
    kept.rename(world.store)
    until(lambda: world.ask("1", "2")["degraded"] == [])
    assert world.ask("1", "2") == cached


def test_a_store_cut_short_degrades(world: World, until: Callable) -> None:
    data = world.store / "data.mdb"
    whole = data.read_bytes()
    os.truncate(data, len(whole) // 2)
    assert world.ask("3", "502")["degraded"] == ["item_store_unavailable"]
    data.with_name("whole").write_bytes(whole)
    data.with_name("whole").replace(data)
    until(lambda: world.ask("3", "502")["degraded"] == [])


def test_a_store_of_other_bytes_degrades(world: World, until: Callable) -> None:
    data = world.store / "data.mdb"
    whole = data.read_bytes()
    data.with_name("other").write_bytes(b"no store at all" * 1000)
    data.with_name("other").replace(data)
    assert world.ask("3", "503")["degraded"] == ["item_store_unavailable"]
    data.with_name("whole").write_bytes(whole)
    data.with_name("whole").replace(data)
    until(lambda: world.ask("3", "503")["degraded"] == [])


def test_items_without_caption_are_listed_for_captioning_until_they_have_one(world: World, until: Callable) -> None:
    world.ask("14", "never-seen", "15")

    def listed() -> set[str]:
        file = world.transformer.missing_file
        return {orjson.loads(line) for line in file.read_bytes().splitlines()} if file.exists() else set()

    until(lambda: {"14", "never-seen"} <= listed())
    assert "15" not in listed()
    with LmdbStore.open(world.store) as store:
        store.put_many([ItemRow("14", store.get_many(["15"])[0].caption, {})])  # type: ignore[union-attr]
    world.ask("14")
    until(lambda: "14" not in listed())


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (b"[" * 5000, {}, 400, "UTF-8 JSON"),
        (b'{"instances": [{"user_id": "\xff"}]}', {}, 400, "UTF-8 JSON"),
        (b'{"instances": [{"user_id": "1", "user": {"age": NaN}}]}', {}, 400, "JSON has no NaN"),
        (b"", {}, 400, "UTF-8 JSON"),
        (b"x" * 200_000, {}, 413, "at most 100000 bytes"),
        (b"{}", {"content-encoding": "gzip"}, 415, "Content-Encoding"),
        (b'{"instances": []}', {}, 400, "at least one request"),
        (b'{"instances": [{"user_id": "1", "candidates": []}]}', {}, 400, "at least one candidate"),
        (
            b'{"instances": [{"user_id": true, "candidates": [{"item_id": "1"}]}]}',
            {},
            400,
            "instances[0].user_id: is True",
        ),
    ],
)
def test_a_bad_body_is_a_clear_4xx(world: World, body: bytes, headers: dict[str, str], status: int, says: str) -> None:
    response = httpx.post(f"{world.transformer.url}/v1/models/ranker:predict", content=body, headers=headers)
    assert response.status_code == status
    assert says in response.json()["error"]


def test_a_body_in_chunks_over_the_limit_is_refused_too(world: World) -> None:
    response = httpx.post(f"{world.transformer.url}/v1/models/ranker:predict", content=iter([b"x" * 60_000] * 3))
    assert response.status_code == 413


def test_a_message_over_the_limit_is_refused_over_grpc(world: World) -> None:
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{world.transformer.grpc_port}") as client:
        user_id = triton_grpc.InferInput("user_id", [1], "BYTES")
        user_id.set_data_from_numpy(np.array([b"x" * 200_000], np.object_))
        with pytest.raises(InferenceServerException) as raised:
            client.infer("ranker", [user_id])
        assert raised.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("taken", ["http_port", "grpc_port"])
def test_a_port_in_use_is_named_and_not_shared(world: World, stack: Any, taken: str, tmp_path: Path) -> None:
    port = str(getattr(world.transformer, taken))
    bundle = world.transformer.process.args[world.transformer.process.args.index("--bundle") + 1]
    more = (f"--{taken}", port)
    with (
        pytest.raises(AssertionError, match=f"cannot start: .*{port}"),
        stack.running_transformer(tmp_path, bundle, world.store, world.command.grpc_port, last=more),
    ):
        pass


def test_the_process_is_never_broken_by_any_of_this(world: World) -> None:
    assert world.transformer.process.poll() is None
    assert "Traceback" not in world.transformer.log.read_text()


def test_sigterm_ends_the_process_with_code_0(world: World) -> None:
    world.transformer.process.send_signal(signal.SIGTERM)
    assert world.transformer.process.wait(15) == 0
