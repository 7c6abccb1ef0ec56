"""A small Kubernetes API with Experiments: conflicts, watches that end and expire, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

PREFIX = "/apis/sightline.dev/v1alpha1"
Object = dict[str, Any]


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class FakeApi:
    """Experiments by namespace and name.

    Attributes:
        forbidden: methods that are refused. meddle: called before a patch is looked at, as others change things too.
        streams: what each watch in turn sends; it ends after that. away: so many requests are answered with 503.
    """

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)
    installed: bool = True
    meddle: Callable[[Object], None] = lambda _: None
    streams: list[list[tuple[str, Object]]] = field(default_factory=list)
    on_watch: Callable[[], None] = lambda: None
    away: int = 0
    version: int = 100
    url: str = ""

    def put(self, body: Object, namespace: str = "shop") -> Object:
        self.version += 1
        metadata = body.setdefault("metadata", {})
        stamp = f"2026-11-{2 + len(self.objects):02d}T09:00:00Z"
        uid = f"uid-{metadata['name']}"
        defaults = {"namespace": namespace, "uid": uid, "creationTimestamp": stamp}
        body["metadata"] = {**defaults, **metadata, "resourceVersion": str(self.version)}
        body |= {"apiVersion": "sightline.dev/v1alpha1", "kind": "Experiment"}
        self.objects[namespace, metadata["name"]] = body
        return body

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any, content_type: str) -> Object:
        if not self.installed:
            raise ApiError(404, "the server could not find the requested resource")
        parts = path.removeprefix(PREFIX).strip("/").split("/")
        if method in self.forbidden:
            raise ApiError(403, f'experiments is forbidden: User "jane" cannot {method.lower()} it')
        if parts == ["experiments"]:
            return {"items": list(self.objects.values()), "metadata": {}}
        namespace, name = parts[1], parts[3] if len(parts) > 3 else ""
        if method == "POST":
            assert query["fieldValidation"] == ["Strict"]
            if (namespace, body["metadata"]["name"]) in self.objects:
                raise ApiError(409, f'experiments "{body["metadata"]["name"]}" already exists')
            return self.put(body, namespace)
        if not name:
            return {"items": [each for (place, _), each in self.objects.items() if place == namespace], "metadata": {}}
        found = self.objects.get((namespace, name))
        if found is None:
            raise ApiError(404, f'experiments "{name}" not found')
        return self._patch(found, body, content_type) if method == "PATCH" else found

    def _patch(self, found: Object, body: Object, content_type: str) -> Object:
        if content_type != "application/merge-patch+json":
            raise ApiError(415, f"{content_type} is not supported")
        self.meddle(found)
        if body["metadata"].pop("resourceVersion") != found["metadata"]["resourceVersion"]:
            raise ApiError(409, "the object has been modified; please apply your changes to the latest version")
        merge(found, body)
        return self.put(found, found["metadata"]["namespace"])


def merge(target: Object, patch: Object) -> None:
    """A JSON merge patch (RFC 7396), in place."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def serve(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            api.requests.append((self.command, self.path))
            query = parse_qs(url.query)
            if query.get("watch") and not api.away:
                self.stream()
                return
            try:
                if api.away:
                    api.away -= 1
                    raise ApiError(503, "the server is currently unable to handle the request")
                content = api.answer(self.command, url.path, query, body, self.headers.get("content-type", ""))
                code = 201 if self.command == "POST" else 200
            except ApiError as error:
                code = error.code
                content = {"kind": "Status", "status": "Failure", "message": str(error), "code": code}
            raw = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def stream(self) -> None:
            self.send_response(200)
            self.end_headers()
            for kind, content in api.streams.pop(0) if api.streams else []:
                if kind != "ERROR":
                    api.put(content) if kind != "DELETED" else api.objects.pop(("shop", content["metadata"]["name"]))
                self.wfile.write(json.dumps({"type": kind, "object": content}).encode() + b"\n")
                self.wfile.flush()
            api.on_watch()

        def log_message(self, *_: object) -> None: ...

    for method in ("GET", "POST", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.serve)
    return Handler


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The API, and a kubeconfig that leads to it with the namespace `shop`."""
    fake = FakeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(fake))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": fake.url}}],
        "users": [{"name": "jane", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "jane", "namespace": "shop"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def spec(**changes: Any) -> Object:
    given = {
        "target": {"kind": "Deployment", "name": "shop-ranker", "transformer": "shop-transformer"},
        "candidate": {"bundle": "s3://shop/models/ranker/7"},
        "primaryMetric": {"name": "clicks", "numerator": {"event": "click", "aggregate": "count"}},
        "guardrails": [{"name": "p99", "kind": "p99Seconds", "limit": 0.2}],
        "analysis": {"plannedUsers": 20000},
        "evidence": {"collector": "http://collector:8090", "prometheus": "http://prometheus:9090"},
    }
    return {**given, **changes}


def state(phase: str, **more: Any) -> Object:
    given = {"phase": phase, "since": "2026-11-03T09:00:00Z", "salt": "captions/1/users", "message": "the hint"}
    return {**given, **more}


def look(day: int, outcome: str, low: float, high: float) -> Object:
    estimate = {
        "metric": "clicks", "stable": 2.0, "candidate": 2.1, "relative": 0.05, "low": low, "high": high, "level": 0.95,
    }  # fmt: skip
    users = [1000 * day, 1001 * day]
    at = f"2026-11-{3 + day:02d}T09:00:00Z"
    return {
        "at": at, "users": users, "exposed": users, "ratioP": 0.9, "share": 50, "primary": estimate, "outcome": outcome,
    }  # fmt: skip


@pytest.fixture(scope="session")
def made() -> Callable[..., Object]:
    """An Experiment as the API has it."""

    def make(phase: str | None = None, name: str = "captions", fields: Object | None = None, **changes: Any) -> Object:
        status = {} if phase is None else {"status": {"state": state(phase, **(fields or {}))}}
        return {"metadata": {"name": name}, "spec": spec(**changes), **status}

    return make


@pytest.fixture(scope="session")
def seen() -> Callable[..., Object]:
    """A look as the state keeps it."""
    return look


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    """A file with that content."""

    def write(content: Any) -> Path:
        file = tmp_path / "captions.yaml"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return file

    return write


@pytest.fixture(scope="session")
def given() -> Callable[..., Object]:
    """A valid spec, with changes."""
    return spec
