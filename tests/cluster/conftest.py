"""A small Kubernetes API: Jobs, pods and logs in memory, over real HTTP, for the real client."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

_KINDS = {
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "configmaps": ("v1", "ConfigMap"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "persistentvolumeclaims": ("v1", "PersistentVolumeClaim"),
}
Object = dict[str, Any]


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class FakeApi:
    """Objects by resource, namespace and name. `forbidden` holds verb and resource that are refused."""

    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)
    logs: dict[str, list[bytes]] = field(default_factory=dict)
    default_class: bool = True
    url: str = ""
    on_log: Callable[[str], None] = lambda _: None
    _count: Any = field(default_factory=itertools.count)

    def add(self, resource: str, body: Object, namespace: str = "shop") -> Object:
        number = next(self._count)
        metadata = body.setdefault("metadata", {})
        name = metadata.get("name") or f"{metadata['generateName']}{number:05d}"
        if (resource, namespace, name) in self.objects:
            raise ApiError(409, f'{resource} "{name}" already exists')
        version, kind = _KINDS[resource]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_800_000_000 + number))
        metadata |= {"name": name, "namespace": namespace, "uid": f"uid-{number}", "creationTimestamp": stamp}
        made: Object = {"apiVersion": version, "kind": kind, "status": {}, **body}
        self.objects[resource, namespace, name] = made
        return made

    def pod(self, job: str, status: Object, index: int | None = None, namespace: str = "shop") -> str:
        labels = {"batch.kubernetes.io/job-name": job, "app.kubernetes.io/component": "train"}
        if index is not None:
            labels["batch.kubernetes.io/job-completion-index"] = str(index)
        body = {"metadata": {"generateName": f"{job}-", "labels": labels}, "spec": {"containers": []}, "status": status}
        return str(self.add("pods", body, namespace)["metadata"]["name"])

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Object | None) -> Object:
        parts = path.strip("/").split("/")
        parts = parts[3:] if parts[0] == "apis" else parts[2:]
        if parts[0] != "namespaces":
            if (method, parts[0]) in self.forbidden:
                raise ApiError(403, f'{parts[0]} is forbidden: User "jane" cannot list them')
            if parts[0] == "storageclasses":
                return self._classes()
            return self._list(parts[0], None, query)
        namespace, resource, name = parts[1], parts[2], parts[3] if len(parts) > 3 else ""
        if (method, resource) in self.forbidden:
            raise ApiError(403, f'{resource} is forbidden: User "jane" cannot {method.lower()} resource "{resource}"')
        if method == "POST":
            assert body is not None
            return self.add(resource, body, namespace)
        if not name:
            return self._list(resource, namespace, query)
        found = self.objects.get((resource, namespace, name))
        if found is None:
            raise ApiError(404, f'{resource} "{name}" not found')
        if method == "DELETE":
            del self.objects[resource, namespace, name]
        if method == "PATCH":
            assert body is not None
            found["spec"] |= body["spec"]
        return found

    def _classes(self) -> Object:
        marks = {"storageclass.kubernetes.io/is-default-class": str(self.default_class).lower()}
        fast = {"metadata": {"name": "fast", "annotations": marks}, "provisioner": "disks.example"}
        return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClassList", "metadata": {}, "items": [fast]}

    def _list(self, resource: str, namespace: str | None, query: dict[str, list[str]]) -> Object:
        wanted = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(",") if part)
        items = [
            each
            for (kind, place, _), each in self.objects.items()
            if kind == resource
            and namespace in (None, place)
            and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]
        return {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}


def handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def serve(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            api.requests.append((self.command, self.path))
            if url.path.endswith("/log"):
                self.stream(url.path.split("/")[-2])
                return
            try:
                code, content = 200, api.answer(self.command, url.path, parse_qs(url.query), body)
            except ApiError as error:
                code = error.code
                content = {"kind": "Status", "status": "Failure", "message": str(error), "code": code}
            raw = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def stream(self, pod: str) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in api.logs[pod]:
                self.wfile.write(piece)
                self.wfile.flush()
            api.on_log(pod)

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
    context = {"cluster": "c", "user": "jane", "namespace": "shop"}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": fake.url}}],
        "users": [{"name": "jane", "user": {}}],
        "contexts": [
            {"name": "here", "context": context},
            {"name": "there", "context": {**context, "namespace": "lab"}},
        ],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()
