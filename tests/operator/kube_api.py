"""The Kubernetes API over real HTTP: what an operator does with it within its Role, and what goes wrong on the way."""

import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kube_store import ApiError, Object, Store

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass
class Fault:
    """Goes wrong so many times. `how`: a status, `slow`, `unheard` (not done, no answer), `lost` (done, no answer)."""

    how: int | str
    verb: str = ""
    plural: str = ""
    times: int = 1
    seconds: float = 0.0

    def hits(self, verb: str, plural: str) -> bool:
        return self.times > 0 and self.verb in ("", verb) and self.plural in ("", plural)


@dataclass
class KubeApi:
    """`allowed` holds group, resource and verb; anything else is forbidden. `after_write` runs before the answer."""

    store: Store
    allowed: set[tuple[str, str, str]]
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Verb, resource, name, user agent."""
    used: set[tuple[str, str, str]] = field(default_factory=set)
    away: bool = False
    after_write: Callable[[str, str, Object], None] = lambda verb, resource, body: None
    drop_watches: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)
    watches: int = 0

    def fault(self, verb: str, plural: str) -> Fault | None:
        with self.store.changed:
            found = next((each for each in self.faults if each.hits(verb, plural)), None)
            if found is not None:
                found.times -= 1
            return found

    def answer(self, request: "Request") -> Object:
        place = (request.plural, request.namespace)
        match request.verb:
            case "get":
                return self.store.get(*place, request.name)
            case "list":
                items = self.store.list(*place, request.query.get("labelSelector", [""])[0])
                return {"kind": "List", "metadata": {"resourceVersion": str(self.store.version)}, "items": items}
            case "create":
                return self.store.create(*place, request.body)
            case "update":
                return self.store.update(*place, request.body, request.subresource)
            case "patch":
                manager = request.query.get("fieldManager", ["unknown"])[0]
                return self.store.patch(*place, request.name, request.body, manager)
            case _:
                uid = (request.body or {}).get("preconditions", {}).get("uid")
                return self.store.delete(*place, request.name, uid)


@dataclass(frozen=True)
class Request:
    """A request, taken apart."""

    verb: str
    group: str
    plural: str
    namespace: str
    name: str
    subresource: str
    query: dict[str, list[str]]
    body: Any

    @property
    def resource(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def parsed(method: str, path: str, body: Any) -> Request:
    url = urlsplit(path)
    query = parse_qs(url.query)
    parts = url.path.strip("/").split("/")
    group = parts[1] if parts[0] == "apis" else ""
    rest = parts[3:] if group else parts[2:]
    if rest[0] != "namespaces":
        raise ApiError(403, f"{url.path}: nothing cluster-wide is allowed")
    namespace, plural, name, subresource = [*rest[1:], "", ""][:4]
    verb = _VERBS.get(method) or ("get" if name else "watch" if "watch" in query else "list")
    return Request(verb, group, plural, namespace, name, subresource, query, body)


# kopf begins to watch once discovery has shown it that there are namespaces; every API server says so.
NAMESPACES: Object = {
    "name": "namespaces",
    "singularName": "namespace",
    "kind": "Namespace",
    "namespaced": False,
    "verbs": ["get"],
}
DISCOVERY: dict[str, Object] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [NAMESPACES]},
    "/apis": {
        "groups": [
            {
                "name": "sightline.dev",
                "versions": [{"version": "v1alpha1"}],
                "preferredVersion": {"version": "v1alpha1"},
            }
        ]
    },
    "/apis/sightline.dev/v1alpha1": {
        "resources": [
            {
                "name": "experiments",
                "singularName": "experiment",
                "kind": "Experiment",
                "namespaced": True,
                "shortNames": ["exp"],
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            },
            {
                "name": "experiments/status",
                "singularName": "",
                "kind": "Experiment",
                "namespaced": True,
                "verbs": ["get"],
            },
        ]
    },
}


def handler(api: KubeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if api.away:
                self.hang_up()
                return
            page = DISCOVERY.get(urlsplit(self.path).path)
            if page is not None:
                self.say(200, page)
                return
            try:
                request = parsed(self.command, self.path, body)
                self.allow(request)
                if request.verb == "watch":
                    self.watch(request)
                    return
                self.do(request)
            except ApiError as error:
                status = {"kind": "Status", "status": "Failure", "message": str(error), "code": error.code}
                self.say(error.code, status)

        def allow(self, request: Request) -> None:
            api.asked.append((request.verb, request.resource, request.name, self.headers.get("user-agent", "")))
            rule = (request.group, request.resource, request.verb)
            api.used.add(rule)
            if rule not in api.allowed:
                raise ApiError(403, f'{request.resource} is forbidden: User "operator" cannot {request.verb} it')

        def do(self, request: Request) -> None:
            fault = api.fault(request.verb, request.plural)
            how = fault.how if fault else ""
            if how == "slow":
                api.stopping.wait(fault.seconds if fault else 0)
            if isinstance(how, int):
                raise ApiError(how, "injected by the test")
            if how == "unheard":
                self.hang_up()
                return
            made = api.answer(request)
            if request.verb not in ("get", "list"):
                api.after_write(request.verb, request.resource, made)
            if how == "lost":
                self.hang_up()
                return
            self.say(201 if request.verb == "create" else 200, made)

        def watch(self, request: Request) -> None:
            since = int(request.query.get("resourceVersion", ["0"])[0])
            fault = api.fault("watch", request.plural)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            if since < api.store.forgotten or (fault and fault.how == 410):
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                self.line({"type": "ERROR", "object": gone})
                return
            api.watches += 1
            while not (api.stopping.is_set() or api.away or api.drop_watches.is_set()):
                with api.store.changed:
                    news = [each for each in api.store.log if each[0] > since and each[2] == request.plural]
                    if not news:
                        api.store.changed.wait(0.1)
                for version, what, _, body in news:
                    since = version
                    if body["metadata"]["namespace"] == request.namespace and not self.line(
                        {"type": what, "object": body}
                    ):
                        return

        def line(self, event: Object) -> bool:
            try:
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()
            except OSError:
                return False
            return True

        def say(self, code: int, content: Object) -> None:
            raw = json.dumps(content).encode()
            try:
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except OSError:  # the operator was killed meanwhile
                return

        def hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the operator was killed meanwhile
                self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.serve)
    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    broken: list[str]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that was killed is no fault of the server; all else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.broken.append(traceback.format_exc())


@contextmanager
def served(api: KubeApi) -> Iterator[KubeApi]:
    """Serve while the block runs."""
    server = _Server(("127.0.0.1", 0), handler(api))
    server.broken = []
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield api
    finally:
        api.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert server.broken == []


def until(what: str, truth: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it holds; fails with what was waited for."""
    end = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < end, f"{what}: not so after {seconds:g} s"
        time.sleep(0.02)
