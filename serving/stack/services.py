"""The three servers of the stack: how each is started here and how one sees that it answers."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from serving.ranker.command import TritonCommand
from serving.stack.layout import Layout
from serving.stack.ports import HOST, Ports
from serving.stack.service import Service

RANKER = "ranker"
ABLATION = "ranker-ids"


def captioner(layout: Layout, ports: Ports, preset: str = "tiny") -> Service:
    """Ray Serve with the captioning application."""
    return Service(
        name="captioner",
        argv=(
            *(sys.executable, "-m", "serving.captioner.run", "--preset", preset),
            *("--host", HOST, "--port", str(ports.captioner)),
        ),
        log=layout.log("captioner"),
        why_not_ready=answers(f"http://{HOST}:{ports.captioner}/health"),
        env=_quiet(),
        start_seconds=600,
        stop_seconds=40,
    )


def triton(layout: Layout, ports: Ports, models: tuple[str, ...] = (RANKER, ABLATION)) -> Service:
    """Triton on the model repository."""
    command = triton_command(layout, ports)
    return Service(
        name="triton",
        argv=tuple(command.argv),
        log=layout.log("triton"),
        why_not_ready=answers(*(f"http://{HOST}:{ports.triton_http}/v2/models/{name}/ready" for name in models)),
        env={**command.env(os.environ), **_quiet()},
        prepare=command.prepare,
    )


def triton_command(layout: Layout, ports: Ports | None = None) -> TritonCommand:
    """The Triton of this state folder."""
    chosen = ports or Ports()
    return TritonCommand(
        repository=layout.triton,
        http_port=chosen.triton_http,
        grpc_port=chosen.triton_grpc,
        metrics_port=chosen.triton_metrics,
        workdir=layout.run / "triton",
    )


def transformer(layout: Layout, ports: Ports) -> Service:
    """The KServe transformer in front of Triton, with the ranker and its ablation."""
    return Service(
        name="transformer",
        argv=(
            *(sys.executable, "-m", "serving.transformer.run", "--model_name", RANKER),
            *(
                "--bundle",
                str(bundle_path(layout, RANKER)),
                "--also",
                f"{ABLATION}={bundle_path(layout, ABLATION)}",
            ),
            *("--store", str(layout.store), "--predictor_protocol", "grpc-v2"),
            *("--predictor_host", f"{HOST}:{ports.triton_grpc}", "--host", HOST),
            *("--http_port", str(ports.transformer_http), "--grpc_port", str(ports.transformer_grpc)),
        ),
        log=layout.log("transformer"),
        why_not_ready=answers(
            *(f"http://{HOST}:{ports.transformer_http}/v2/models/{name}/ready" for name in (RANKER, ABLATION))
        ),
        env=_quiet(),
    )


def bundle_path(layout: Layout, name: str) -> Path:
    """The folder of a bundle."""
    return layout.bundles / name


def answers(*urls: str) -> Callable[[], str | None]:
    """A readiness check: every address answers 200."""

    def why_not() -> str | None:
        for url in urls:
            try:
                answer = httpx.get(url, timeout=2.0, trust_env=False)
            except httpx.HTTPError as error:
                return f"GET {url}: {error or type(error).__name__}"
            if answer.status_code != httpx.codes.OK:
                return f"GET {url}: {answer.status_code} {answer.text[:300]}"
        return None

    return why_not


def _quiet() -> dict[str, str]:
    # No server of ours may call home.
    return {"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
