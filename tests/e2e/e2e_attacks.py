"""What a neighbour without a Secret tries on a release, from a pod of the transformer's image; prints JSON.

Every attack names what it did and whether it was held off. NetworkPolicies are taken as not enforced: the addresses of
the release's pods are given, as a scan would find them.
"""

import argparse
import base64
import contextlib
import http.client
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import redis
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

SECONDS = 20.0
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
PLANTED = base64.b64encode(b"print(1)").decode()
TRITON = (
    ("POST", "/v2/repository/models/planted/load", {"parameters": {"file:1/model.py": PLANTED}}),
    ("POST", "/v2/repository/models/ranker/load", {}),
    ("POST", "/v2/repository/models/ranker/unload", {}),
    ("POST", "/v2/repository/index", {}),
    ("POST", "/v2/systemsharedmemory/region/mine/register", {"key": "/mine", "offset": 0, "byte_size": 8}),
    ("GET", "/v2/systemsharedmemory/status", None),
    ("GET", "/v2/models/stats", None),
    ("GET", "/v2/logging", None),
    ("POST", "/v2/trace/setting", {"trace_level": ["TENSORS"]}),
)
TRITON_CALLS: dict[str, Callable[[triton_grpc.InferenceServerClient], Any]] = {
    "load": lambda client: client.load_model("planted", config="{}", files={"file:1/model.py": b"print(1)"}),
    "unload": lambda client: client.unload_model("ranker"),
    "index": lambda client: client.get_model_repository_index(),
    "shared memory": lambda client: client.register_system_shared_memory("mine", "/mine", 8),
    "statistics": lambda client: client.get_inference_statistics(),
    "log settings": lambda client: client.update_log_settings({"log_verbose_level": 9}),
}
COLLECTOR = ("/v1/outcomes", "/v1/exposures", "/v1/evidence", "/v1/quantiles", "/v1/users/forget", "/v1/users/find")
RAY_PORTS = (6379, 8265, 10001)


@dataclass(frozen=True)
class Tried:
    """An attack, whether it was held off, and what came back."""

    attack: str
    held: bool
    saw: str


def ask(host: str, port: int, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, str]:
    """Status and the beginning of the answer; status 0 where nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read(300).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error)
    finally:
        connection.close()


def triton(host: str) -> Iterator[Tried]:
    """Load code, unload the ranker, look in, end the server."""
    for method, path, body in TRITON:
        for key in (None, "a guess"):
            headers = {} if key is None else {"x-sightline-triton-key": key}
            status, saw = ask(host, 8080, method, path, body, headers)
            yield Tried(f"Triton {method} {path}, key {key}", status == 403, f"{status} {saw}")
    with triton_grpc.InferenceServerClient(f"{host}:9000") as client:
        for name, call in TRITON_CALLS.items():
            try:
                yield Tried(f"Triton gRPC {name}", False, repr(call(client)))
            except InferenceServerException as error:
                yield Tried(f"Triton gRPC {name}", "restricted" in str(error), str(error)[:200])
    for path in ("infer", "generate"):
        status = in_pieces(host, f"/v2/models/ranker/{path}")
        time.sleep(2)
        live, _ = ask(host, 8080, "GET", "/v2/health/live")
        yield Tried(f"Triton {path} in a million pieces", live == 200, f"{status}; then health {live}")


def in_pieces(host: str, path: str) -> str:
    """The status line of a POST whose body comes in a million pieces."""
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    try:
        with socket.create_connection((host, 8080), timeout=SECONDS) as connection:
            connection.sendall(head.encode())
            for _ in range(20):
                connection.sendall(b"1\r\n{\r\n" * 50_000)
            connection.sendall(b"0\r\n\r\n")
            return connection.recv(1000).partition(b"\r\n")[0].decode()
    except OSError as error:
        return repr(error)


def items(host: str) -> Iterator[Tried]:
    """Read and write the item store as nobody, as the default user, with guesses."""
    for user, password in ((None, None), ("default", ""), ("reader", ""), ("writer", "writer"), ("controller", "x")):
        client = redis.Redis(host, 6379, username=user, password=password, socket_timeout=SECONDS)
        try:
            saw = repr(client.info("server")["redis_version"])
            held = False
        except redis.RedisError as error:
            saw, held = repr(error), isinstance(error, redis.AuthenticationError)
        yield Tried(f"item store as {user}, password {password!r}", held, saw[:200])


def collector(host: str) -> Iterator[Tried]:
    """Send outcomes, take evidence, forget people, without a token and with a guess."""
    for path in COLLECTOR:
        for token in (None, "a-guess-of-enough-characters"):
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            status, saw = ask(host, 8090, "POST", path, {}, headers)
            yield Tried(f"collector {path}, token {token}", status in (401, 403), f"{status} {saw}")


def ray(host: str) -> Iterator[Tried]:
    """Run a job in the captioner's Ray."""
    job = {"entrypoint": "id", "runtime_env": {}}
    status, saw = ask(host, 8265, "POST", "/api/jobs/", job)
    yield Tried("Ray job", status in (0, 401, 403), f"{status} {saw}")
    for port in RAY_PORTS:
        with grpc.insecure_channel(f"{host}:{port}") as channel:
            call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
            try:
                yield Tried(f"Ray's nodes by port {port}", False, repr(call(b"", timeout=SECONDS))[:200])
            except grpc.RpcError as error:
                code = error.code().name  # type: ignore[attr-defined]
                held = code in ("UNAUTHENTICATED", "UNAVAILABLE", "PERMISSION_DENIED")
                yield Tried(f"Ray's nodes by port {port}", held, f"{code} {error}"[:200])


def transformer(host: str, user: str, item: str) -> Iterator[Tried]:
    """Choose an arm, see one's arm, hold the loop and the memory."""
    call = {"instances": [{"user_id": user, "candidates": [{"item_id": item}]}]}
    path = "/v1/models/ranker:predict"
    for key in (None, "a guess"):
        headers = {"x-sightline-arm": "stable"} | ({} if key is None else {"x-sightline-arm-key": key})
        status, saw = ask(host, 8080, "POST", path, call, headers)
        yield Tried(f"naming an arm, key {key}", status == 403, f"{status} {saw}")
    status, saw = ask(host, 8080, "POST", path, call)
    yield Tried("an arm in the answer", status == 200 and '"arm"' not in saw, f"{status} {saw}")
    captions = [{"item_id": f"new-{i}", "caption": f"word{i} " * 500} for i in range(1000)]
    status, saw = ask(host, 8080, "POST", path, {"instances": [{"user_id": user, "candidates": captions}]})
    yield Tried("megabytes of inline captions", status == 400, f"{status} {saw}")
    with contextlib.ExitStack() as held:
        head = b"POST %b HTTP/1.1\r\nHost: here\r\nContent-Length: 8000000\r\n\r\n" % path.encode()
        for _ in range(64):
            with contextlib.suppress(OSError):  # refused, or answered and closed
                connection = held.enter_context(socket.create_connection((host, 8080), timeout=SECONDS))
                connection.sendall(head + b"x" * 7_000_000)
        status, saw = ask(host, 8080, "POST", path, call)
    yield Tried("ranking beside 64 bodies that never end", status == 200, f"{status} {saw}")
    status, saw = ask(host, 8080, "POST", "/v2/repository/models/ranker/unload", {})
    yield Tried("unloading by the transformer", status == 501, f"{status} {saw}")


def kubernetes() -> Iterator[Tried]:
    """The pod has no token of its own, and anonymous callers may nothing."""
    yield Tried("a service account's token", not TOKEN.exists(), str(TOKEN))


def main() -> int:
    """Try all; 1 where something was not held off."""
    words = argparse.ArgumentParser(description=__doc__)
    for name in ("ranker", "items", "collector", "captioner", "transformer"):
        words.add_argument(f"--{name}", action="append", default=[], help="addresses of its pods and Services")
    words.add_argument("--user", required=True)
    words.add_argument("--item", required=True)
    given = words.parse_args()
    tried = list(kubernetes())
    for attacks, hosts in ((items, given.items), (collector, given.collector), (ray, given.captioner)):
        for host in hosts:
            tried.extend(attacks(host))
    for host in given.transformer:
        tried.extend(transformer(host, given.user, given.item))
    for host in given.ranker:
        tried.extend(triton(host))
    sys.stdout.write(json.dumps({"tried": [asdict(each) for each in tried]}) + "\n")
    return 0 if all(each.held for each in tried) else 1


if __name__ == "__main__":
    sys.exit(main())
