"""The three places of the assignments: a file, a key of Redis, a ConfigMap behind an imitation of the API server."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer, needs_redis, running_redis

from models.items import ItemRow
from serving.transformer.assignment_sources import FileSource, RedisSource, check_source, open_source
from serving.transformer.configmap import ConfigMapName, ConfigMapSource
from serving.transformer.source_error import AssignmentSourceError


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("http://somewhere", "expected a file, configmap://namespace/name, or redis://host:port/number"),
        ("configmap://only-a-namespace", "expected configmap://namespace/name"),
        ("configmap://Shop/book", "expected configmap://namespace/name"),
        ("redis://:secret@redis:6379/0", "assignments redis://…@redis: user and password do not belong"),
        ("redis://redis:6379/0?key=x", "assignments redis://redis:6379/0.key=x: cannot be read"),
    ],
)
def test_what_is_no_place_is_refused(place: str, says: str) -> None:
    with pytest.raises(AssignmentSourceError, match=says):
        check_source(place)
    with pytest.raises(AssignmentSourceError):
        open_source(place, {})


def test_a_file_is_read_each_time_also_behind_the_links_of_a_mounted_configmap(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "book.json").write_text(version)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "book.json").symlink_to("..data/book.json")
    source = FileSource(tmp_path / "book.json")
    assert source.read() == b"one"
    (tmp_path / "..data_tmp").symlink_to("two")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")  # as the kubelet swaps it
    assert source.read() == b"two"
    (tmp_path / "book.json").unlink()
    assert source.read() is None


def test_a_folder_that_is_not_there_is_unreadable_and_not_the_end_of_experiments(tmp_path: Path) -> None:
    with pytest.raises(AssignmentSourceError, match="its folder is not there; mount or make it"):
        FileSource(tmp_path / "nowhere" / "book.json").read()
    with pytest.raises(AssignmentSourceError, match="cannot be read: Is a directory"):
        FileSource(tmp_path).read()


@needs_redis
def test_a_key_of_redis_is_read_under_the_databases_prefix(tmp_path: Path) -> None:
    password = {"SIGHTLINE_STORE_PASSWORD": "a secret"}
    with running_redis(tmp_path, "--requirepass", "a secret", environ=password) as server:
        source = RedisSource(server.uri, password)
        assert source.read() is None
        with server.client() as client:
            client.set("sightline:assignments", b"{}")
            client.set("shop:assignments", b"[]")
        assert source.read() == b"{}"
        assert RedisSource(f"{server.uri}?prefix=shop:", password).read() == b"[]"
        with pytest.raises(AssignmentSourceError, match=r"key sightline:assignments: assignments redis.*PASSWORD"):
            RedisSource(server.uri, {}).read()
        with server.hanging(), pytest.raises(AssignmentSourceError, match=r"no answer within 0.2 s"):
            RedisSource(server.uri, password, timeout=0.2).read()
        server.kill()
        with pytest.raises(AssignmentSourceError, match="is Redis running"):
            source.read()
        server.start()
        assert source.read() is None


@dataclass
class ApiServer:
    """Answers `get` of one ConfigMap as the API server does, over TLS, to who has the token."""

    folder: Path
    port: int = 0
    token: str = "token-1"
    status: int = 0
    data: dict[str, str] | None = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if self.status:
            return self.status, {"kind": "Status", "message": "as told"}
        if authorization != f"Bearer {self.token}":
            return 401, {"kind": "Status", "message": "Unauthorized"}
        if path != "/api/v1/namespaces/shop/configmaps/sightline-assignments" or self.data is None:
            return 404, {"kind": "Status", "message": "not found"}
        return 200, {"kind": "ConfigMap", "data": self.data}

    @contextmanager
    def source(self) -> Iterator[ConfigMapSource]:
        name = ConfigMapName.parse("configmap://shop/sightline-assignments")
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}
        with closing(ConfigMapSource(name, environ, self.folder, timeout=2)) as source:
            yield source


@contextmanager
def serving(api: ApiServer) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = api.answer(self.path, self.headers.get("authorization"))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(api.folder / "server.crt", api.folder / "server.key")
    server = ThreadingHTTPServer(("127.0.0.1", api.port), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "server.key", "-out", "server.crt"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (tmp_path / "ca.crt").write_bytes((tmp_path / "server.crt").read_bytes())
    (tmp_path / "token").write_text("token-1\n")
    made = ApiServer(tmp_path)
    with serving(made):
        yield made


def test_a_configmap_is_read_with_a_token_that_changes(api: ApiServer) -> None:
    with api.source() as source:
        assert source.read() is None, "no such key"
        api.data = {"book.json": "{}"}
        assert source.read() == b"{}"
        api.token = "token-2"
        with pytest.raises(AssignmentSourceError, match=r"HTTP 401.*does not take the service account's token"):
            source.read()
        (api.folder / "token").write_text("token-2")
        assert source.read() == b"{}"
        api.data = None
        assert source.read() is None, "no such ConfigMap"
    assert set(api.asked) == {"/api/v1/namespaces/shop/configmaps/sightline-assignments"}


@pytest.mark.parametrize(("status", "says"), [(403, "a Role with `get`"), (500, "HTTP 500"), (301, "HTTP 301")])
def test_what_the_api_server_refuses_is_told(api: ApiServer, status: int, says: str) -> None:
    api.status = status
    expected = f"assignments configmap://shop/sightline-assignments: .*{says}"
    with api.source() as source, pytest.raises(AssignmentSourceError, match=expected):
        source.read()


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # httpcore's, when a handshake fails
def test_a_server_of_another_authority_is_not_believed(api: ApiServer) -> None:
    other = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", "x.key"]
    subprocess.run([*other, "-out", "ca.crt"], cwd=api.folder, check=True, capture_output=True, timeout=60)
    with api.source() as source, pytest.raises(AssignmentSourceError, match="CERTIFICATE_VERIFY_FAILED"):
        source.read()
    assert api.asked == []


def test_an_api_server_that_comes_back_is_read_again(api: ApiServer) -> None:
    api.data = {"book.json": "{}"}
    with api.source() as source:
        assert source.read() == b"{}"
        (api.folder / "token").unlink()
        with pytest.raises(AssignmentSourceError, match=r"token.*automountServiceAccountToken"):
            source.read()
        (api.folder / "token").write_text("token-1")
        assert source.read() == b"{}"


def test_outside_of_a_pod_a_configmap_is_refused_with_what_to_do(tmp_path: Path) -> None:
    source = ConfigMapSource(ConfigMapName("shop", "book"), {}, tmp_path)
    with pytest.raises(AssignmentSourceError, match="KUBERNETES_SERVICE_HOST is not set: this is no pod"):
        source.read()


@needs_redis
def test_a_transformer_follows_redis_and_keeps_its_arms_while_redis_is_away(
    tmp_path: Path,
    stack: Any,
    triton: Any,
    with_captions: Any,
    ids_only: Any,
    rows: list[ItemRow],
    book_at: Callable[[Path], Any],
    metric: Callable[..., float],
    until: Callable[..., None],
) -> None:
    book = book_at(tmp_path / "unused")
    assignment = book.assignment(book.arm(ids_only, "ranker-ids", triton.grpc), share=5000)
    book.write(assignment)
    gauge = 'sightline_assignment_revision{experiment="captions",model="ranker"}'
    with running_redis(tmp_path / "redis") as server:
        publish(server, book.path.read_bytes())
        more = ("--assignments", server.uri, "--assignment_seconds", "0.1")
        store = stack.fill(tmp_path / "store", rows)
        with stack.running_transformer(tmp_path, with_captions.bundle.path, store, triton.grpc, *more) as transformer:
            assert metric(transformer, gauge) == 1, "in effect before the process is ready"
            server.kill()
            until(lambda: metric(transformer, "sightline_assignment_failures_total") >= 2)
            assert metric(transformer, gauge) == 1
            assert metric(transformer, "sightline_assignment_age_seconds") > 0
            server.start()
            until(lambda: metric(transformer, gauge) == 0)
            publish(server, book.path.read_bytes())
            until(lambda: metric(transformer, gauge) == 1)
            log = transformer.log.read_text()
            assert log.count("is Redis running") == 1


def publish(server: RedisServer, text: bytes) -> None:
    with server.client() as client:
        client.set("sightline:assignments", text)
