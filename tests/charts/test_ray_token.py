"""Ray's ports run code for whoever reaches them: with the rendered `authOptions` they want a token, and
health does not.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from scenario import every, load

from serving.stack.triton_server import free_port

TOKEN = "0123456789abcdef" * 4


@pytest.mark.parametrize("name", [each.name for each in every() if each.kind("RayService")])
def test_every_ray_cluster_wants_a_token(name: str) -> None:
    (service,) = load(name).kind("RayService")
    assert service["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}
    variables = [
        entry["name"] for pod in load(name).pods for each in pod.all_containers for entry in each.get("env", [])
    ]
    assert not [each for each in variables if each.startswith("RAY_AUTH")], "KubeRay leaves those alone that it finds"


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[int, int]]:
    """Ports of dashboard and health of a head that has the variables which KubeRay makes of authOptions."""
    (service,) = load("rayservice").kind("RayService")
    mode = service["spec"]["rayClusterConfig"]["authOptions"]["mode"]
    folder = Path(tempfile.mkdtemp(prefix="sr", dir="/tmp"))
    gcs, dashboard, agent = free_port(), free_port(), free_port()
    own = {
        "RAY_AUTH_MODE": mode,
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--num-cpus=0"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}", "--object-store-memory=80000000"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    try:
        for port in (dashboard, agent):
            end = time.monotonic() + 120
            while not answers(port):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.3)
        yield dashboard, agent
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=60).status_code < 500
    except httpx.TransportError:
        return False


@pytest.mark.timeout(300)
def test_who_has_no_token_starts_no_job_and_reads_nothing(head: tuple[int, int], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{head[0]}"
    job = {"entrypoint": f"touch {tmp_path / 'ran'}"}
    for headers in ({}, {"authorization": "Bearer a guess of somebody"}):
        assert httpx.post(f"{url}/api/jobs/", json=job, headers=headers, trust_env=False, timeout=60).status_code in (
            401,
            403,
        )
        for path in ("/api/jobs/", "/api/serve/applications/", "/api/version"):
            assert httpx.get(url + path, headers=headers, trust_env=False, timeout=60).status_code in (401, 403)
    operator = {"x-ray-authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{url}/api/jobs/", headers=operator, trust_env=False, timeout=60).status_code == 200
    assert not (tmp_path / "ran").exists()


@pytest.mark.timeout(300)
def test_probes_need_no_token(head: tuple[int, int]) -> None:
    (group,) = [pod for pod in load("rayservice").pods if pod.owner.endswith(" head")]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = group.containers[0][kind]["httpGet"]
        assert probe["port"] == 52365
        end = time.monotonic() + 60
        while (
            status := httpx.get(f"http://127.0.0.1:{head[1]}{probe['path']}", trust_env=False, timeout=60).status_code
        ) != 200:
            assert time.monotonic() < end, status
            time.sleep(0.5)
