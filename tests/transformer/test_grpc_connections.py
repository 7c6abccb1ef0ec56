"""A gRPC client that stays connected comes to other pods in time, and loses no call on the way."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, with_captions: Any, rows: Any, triton: Any, stack: Any
) -> Iterator[Any]:
    """One whose connections live for a second."""
    folder = tmp_path_factory.mktemp("renewed")
    store = stack.fill(folder / "store", rows)
    age = ("--grpc_connection_age_seconds", "1")
    with stack.running_transformer(folder, with_captions.bundle.path, store, triton.grpc, *age) as made:
        yield made


def strings(name: str, values: list[str]) -> Any:
    tensor = triton_grpc.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode() for value in values], dtype=np.object_))
    return tensor


def test_a_connection_is_renewed_between_calls_and_none_is_lost(running: Any) -> None:
    port = running.grpc_port
    used: set[int] = set()
    inputs = [strings("user_id", ["196"]), strings("item_id", ["1", "2"])]
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        until = time.monotonic() + 60
        while len(used) < 4 and time.monotonic() < until:
            assert client.infer("ranker", inputs).as_numpy("score").shape == (2,)
            found = psutil.Process().connections("tcp")
            used |= {each.laddr.port for each in found if each.raddr and each.raddr.port == port}
    assert len(used) >= 4, "one connection was kept"
