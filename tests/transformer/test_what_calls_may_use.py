"""What one client may use up: bytes that are held, and the time of the event loop."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

WORDS = "".join(chr(97 + number % 26) + ("" if number % 5 else " ") for number in range(3000))
MIB = 1 << 20


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, with_captions: Any, rows: Any, triton: Any, stack: Any
) -> Iterator[Any]:
    """One that takes whole megabytes of inline captions, so that tokenizing them takes a while."""
    folder = tmp_path_factory.mktemp("bounded")
    more = ("--max_inline_bytes", str(4 * MIB), "--predictor_request_timeout_seconds", "60", "--max_grpc_calls", "4")
    store = stack.fill(folder / "store", rows)
    with stack.running_transformer(folder, with_captions.bundle.path, store, triton.grpc, *more) as made:
        yield made


def captioned(count: int, seed: int = 0) -> dict[str, Any]:
    """A V1 call with so many long captions of words that nobody has seen."""
    random = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz     "))
    texts = ["".join(random.choice(letters, 4000)) for _ in range(count)]
    candidates = [{"item_id": f"new-{i}", "caption": text} for i, text in enumerate(texts)]
    return {"instances": [{"user_id": "196", "candidates": candidates}]}


def resident(running: Any) -> int:
    """Bytes of memory of the process."""
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) << 10


def rank(running: Any) -> int:
    call = {"instances": [{"user_id": "196", "candidates": [{"item_id": "1"}, {"item_id": "2"}]}]}
    return httpx.post(f"{running.url}/v1/models/ranker:predict", json=call, timeout=30).status_code


def test_more_inline_captions_than_a_call_may_bring_are_refused(transformer: Any) -> None:
    answer = httpx.post(f"{transformer.url}/v1/models/ranker:predict", json=captioned(100), timeout=60)
    assert answer.status_code == 400
    (fault,) = answer.json()["faults"]
    assert fault["value"] == "with 400000 bytes of inline captions"
    assert "--max_inline_bytes" in fault["expected"]
    assert httpx.post(f"{transformer.url}/v1/models/ranker:predict", json=captioned(60)).status_code == 200


def test_others_are_answered_while_a_call_full_of_text_is_tokenized(running: Any) -> None:
    body = json.dumps(captioned(1000, seed=1)).encode()
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=running.url, timeout=60) as client:
        began = time.monotonic()
        heavy = pool.submit(httpx.post, f"{running.url}/v1/models/ranker:predict", content=body, timeout=120)
        gaps, last = [], began
        while not heavy.done():
            assert client.get("/v2/health/live").status_code == 200
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
        took = time.monotonic() - began
    assert heavy.result().status_code == 200, heavy.result().text
    assert len(gaps) > 10
    assert max(gaps) < took / 3


def test_bodies_that_are_never_finished_hold_bounded_memory_and_nobody_elses_call(running: Any) -> None:
    assert rank(running) == 200
    before, piece = resident(running), b"x" * (7 * MIB)
    head = b"POST /v1/models/ranker:predict HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % (7 * MIB + 1)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", running.http_port))) for _ in range(64)
        ]
        threads = [threading.Thread(target=_send, args=(each, head + piece)) for each in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rank(running) == 200
        assert resident(running) - before < 200 * MIB
        answers = [_answered(each) for each in connections]
    refused = [answer for answer in answers if b" 503 " in answer]
    assert len(refused) > 32
    assert all(b"--max_held_bytes" in answer and b"retry-after" in answer for answer in refused)


def _send(connection: socket.socket, data: bytes) -> None:
    connection.settimeout(30)
    with contextlib.suppress(OSError):  # the server has answered, and closed
        connection.sendall(data)


def _answered(connection: socket.socket) -> bytes:
    connection.settimeout(30)
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def test_grpc_takes_no_message_that_no_call_can_need_and_so_many_calls_at_a_time(
    running: Any, transformer: Any
) -> None:
    inputs = [text("user_id", ["196"]), text("item_id", [f"new-{i}" for i in range(300)])]
    captions = [text("caption", [WORDS] * 300)]
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{transformer.grpc_port}")
    with client, pytest.raises(InferenceServerException) as raised:
        client.infer("ranker", [*inputs, *captions])
    assert raised.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    outcomes = []

    def call() -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]  # calls on one connection wait for each other in the client
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{running.grpc_port}", channel_args=own) as client:
            try:
                client.infer("ranker", [*inputs, *captions])
                outcomes.append("ok")
            except InferenceServerException as error:
                outcomes.append(error.status())

    threads = [threading.Thread(target=call) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {"ok", "StatusCode.RESOURCE_EXHAUSTED"}
    assert outcomes.count("ok") >= 4


def text(name: str, values: list[str]) -> triton_grpc.InferInput:
    tensor = triton_grpc.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode() for value in values], np.object_))
    return tensor
