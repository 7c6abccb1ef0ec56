"""What an operator asks beside Kubernetes, over real HTTP: a collector, a Prometheus, Triton in the pods, a webhook."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from serving.rollout.evidence.codec import evidence_to_json, names, query_from_json
from serving.rollout.experiment.evidence import Evidence, EvidenceQuery
from serving.rollout.statistics.moments import Moments

_INPUTS = [
    {"name": "dense", "datatype": "FP32", "shape": [-1, 3]},
    {"name": "caption", "datatype": "INT64", "shape": [-1, 16]},
]


@dataclass
class Outside:
    """`lift` is the truth about the candidate; `failures` the share of its rankings that fail."""

    lift: float = 0.5
    failures: float = 0.0
    silent: bool = False
    """Prometheus has no data."""
    bundle_id: str = ""
    users: int = 400
    looks: int = 0
    warmed: list[int] = field(default_factory=list)
    """Candidates of each inference."""
    notices: list[Any] = field(default_factory=list)
    hook_status: int = 200
    url: str = ""
    port: int = 0

    def evidence(self, query: EvidenceQuery) -> Evidence:
        """More users at each look; every one counts at once."""
        self.looks += 1
        users = self.users + 200 * self.looks
        rates = {query.arms[0]: 1.0, query.arms[1]: 1.0 + self.lift}
        random = np.random.default_rng(7)
        moments = {}
        for arm, rate in rates.items():
            before = {column.before for column in query.before}  # nobody had met the candidate then
            moments[arm] = Moments.of(
                {
                    name: random.poisson(1.0 if name in before else rate, users).astype(float)
                    for name in names(query.columns, query.before)
                }
            )
        exposed = dict.fromkeys(query.arms, users)
        return Evidence(as_of=query.as_of, exposed=exposed, moments=moments, triggered=moments)

    def prometheus(self, query: str) -> Any:
        failed = round(1000 * self.failures) if 'arm="candidate"' in query else 0
        series = [("ok", 1000 - failed), ("failed", failed)]
        result = [{"metric": {"outcome": name}, "value": [0, str(value)]} for name, value in series]
        return {"status": "success", "data": {"resultType": "vector", "result": [] if self.silent else result}}

    def triton(self, path: str, body: Any) -> Any:
        if path.endswith("/config"):
            return {"max_batch_size": 256, "parameters": {"bundle": {"string_value": self.bundle_id}}}
        if path.endswith("/infer"):
            batch = body["inputs"][0]["shape"][0]
            for tensor, given in zip(_INPUTS, body["inputs"], strict=True):
                assert (given["name"], given["datatype"]) == (tensor["name"], tensor["datatype"])
                assert len(given["data"]) == np.prod(given["shape"])
            self.warmed.append(batch)
            return {"outputs": [{"name": "score", "datatype": "FP32", "shape": [batch, 1], "data": [0.5] * batch}]}
        return {"name": "ranker", "inputs": _INPUTS, "outputs": []}


def handler(outside: Outside) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(200, json.dumps(outside.triton(self.path, None)).encode())

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/evidence":
                self.say(200, evidence_to_json(outside.evidence(query_from_json(raw))))
            elif self.path == "/api/v1/query":
                self.say(200, json.dumps(outside.prometheus(parse_qs(raw.decode())["query"][0])).encode())
            elif self.path.startswith("/hook"):
                outside.notices.append(json.loads(raw))
                self.say(outside.hook_status, b"")
            else:
                self.say(200, json.dumps(outside.triton(self.path, json.loads(raw))).encode())

        def say(self, code: int, body: bytes) -> None:
            try:
                self.send_response(code)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the operator was killed meanwhile
                return

        def log_message(self, *_: object) -> None: ...

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def served(outside: Outside) -> Iterator[Outside]:
    """Serve while the block runs."""
    server = _Server(("127.0.0.1", 0), handler(outside))
    outside.port = server.server_address[1]
    outside.url = f"http://127.0.0.1:{outside.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield outside
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
