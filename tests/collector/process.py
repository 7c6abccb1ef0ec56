"""A collector as a process of its own, on the loopback, ended by its id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

KEY = "a key of thirty-two bytes, no less"
TOKENS = {right: f"the-token-of-{right}" for right in ("outcomes", "exposures", "evidence", "forget")}
ROUTES = {"quantiles": "evidence", "users/forget": "forget", "users/find": "forget"}
"""Routes whose right has another name."""
CLOUDEVENTS = {"content-type": "application/cloudevents-batch+json"}


def token_of(path: str) -> str:
    """The token that a route wants."""
    route = path.removeprefix("/v1/")
    return TOKENS.get(ROUTES.get(route, route), "")


def signed(request: httpx.Request) -> httpx.Request:
    """With the token of its route, unless it has one."""
    if token := token_of(request.url.path):
        request.headers.setdefault("authorization", f"Bearer {token}")
    return request


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Process:
    """A collector that can be killed and started again on its port and database."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    metrics_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "database"

    @property
    def log(self) -> str:
        return (self.folder / "collector.log").read_text()

    def command(self) -> list[str]:
        where = ("--database", str(self.database), "--host", "127.0.0.1", "--port", str(self.port))
        where += ("--metrics-port", str(self.metrics_port))
        return [sys.executable, "-m", "serving.rollout.collector.run", *where, *self.options]

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
        tokens = {f"SIGHTLINE_COLLECTOR_{right.upper()}_TOKEN": token for right, token in TOKENS.items()}
        return {**clean, "SIGHTLINE_PSEUDONYM_KEY": KEY, **tokens, **self.environ}

    def start(self) -> "Process":
        with (self.folder / "collector.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=self.environment())
        deadline = time.monotonic() + 30
        while True:
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=5, trust_env=False, verify=False).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def client(self, **settings: Any) -> httpx.Client:
        settings = {"auth": signed, **settings}
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=False, **settings)

    def post(self, path: str, document: Any, **settings: Any) -> httpx.Response:
        headers = (CLOUDEVENTS if path.endswith("exposures") else {}) | settings.pop("headers", {})
        with self.client() as client:
            return client.post(path, json=document, headers=headers, **settings)

    def metric(self, name: str, **labels: str) -> float:
        text = httpx.get(
            f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10, trust_env=False, verify=False
        ).text
        told = "{" + ",".join(f'{key}="{labels[key]}"' for key in sorted(labels)) + "}" if labels else ""
        values = [line.split()[-1] for line in text.splitlines() if line.startswith(f"{name}{told} ")]
        assert len(values) == 1, (name, labels, text)
        return float(values[0])
