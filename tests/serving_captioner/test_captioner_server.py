"""The real server, Ray and HTTP included, with a captioner that can be made to fail."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from models.captioner.presets import PRESETS
from serving.captioner.client import CaptionClient
from serving.captioner.warden import of_run

pytestmark = pytest.mark.timeout(300)  # Ray starts six processes; on a busy machine that takes minutes
ROOT = Path(__file__).parents[2]
PNG = {"Content-Type": "image/png"}
RAISES, SLOW, DIES, FINE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 8, 7)
Encode = Callable[..., bytes]
Bad = dict[str, tuple[bytes, int, str]]


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    http: httpx.Client
    folder: Path
    log: Path

    def post(self, data: bytes) -> httpx.Response:
        return self.http.post("/v1/captions", content=data, headers=PNG)


def start(command: list[str], folder: Path, port: int) -> Server:
    """Start a server whose Ray folder is in `folder` and wait until it says that it is ready."""
    log = folder / "log"
    temp = Path("/tmp") / f"t{os.getpid()}-{port}"  # a socket's path must be short, pytest's folders are not
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, "--temp-dir", str(temp)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 240
    while b"captioner: ready" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the server did not start: {log.read_text()[-3000:]}")
        time.sleep(0.2)
    return Server(process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60), temp, log)


def left_over(server: Server, patience: float = 15.0) -> list[str]:
    """Command lines of processes that still have a file of the server's folder open after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (numbers := of_run("no mark", server.folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [Path(f"/proc/{number}/cmdline").read_text() for number in numbers]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    fake = str(Path(__file__).with_name("fake_captioner_server.py"))
    port = unused_port()
    options = ["--max-queued-requests", "1", "--max-ongoing-requests", "4", "--request-timeout-s", "20"]
    running = start([fake, "--port", str(port), *options], tmp_path_factory.mktemp("server"), port)
    yield running
    running.http.close()
    running.process.kill()
    running.process.wait()
    shutil.rmtree(running.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def pictures(encode: Encode) -> dict[tuple[int, int, int], bytes]:
    return {colour: encode(Image.new("RGB", (40, 30), colour)) for colour in (RAISES, SLOW, DIES, FINE)}


Pictures = dict[tuple[int, int, int], bytes]


def test_it_captions_over_http(server: Server, pictures: Pictures) -> None:
    response = server.post(pictures[FINE])
    assert response.json() == {
        "captions": [{"id": "0", "caption": f"a 40 by 30 picture with the corner {FINE}", "finish": "stop"}],
        "captioner": "fake@1",
        "prompt": "what is in the corner?",
        "purpose": PRESETS["tiny"].purpose,
    }
    assert server.http.get("/health").json() == {"status": "ok", "replicas": 1}


def test_no_port_is_open_to_other_machines(server: Server) -> None:
    numbers = of_run("no mark", server.folder)
    assert len(numbers) >= 6  # gcs, raylet, proxy, controller, two replicas
    inodes = {
        os.readlink(file).removeprefix("socket:[").removesuffix("]")
        for number in numbers
        for file in Path(f"/proc/{number}/fd").iterdir()
        if os.readlink(file).startswith("socket:[")
    }
    listening = [
        fields[1]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and fields[9] in inodes
    ]
    assert len(listening) >= 6
    assert [address for address in listening if not address.split(":")[0].endswith("0100007F")] == []


def test_every_bad_image_is_a_4xx_over_http(server: Server, bad_pictures: Bad) -> None:
    for name, (data, status, code) in bad_pictures.items():
        if data:
            response = server.post(data)
            assert (response.status_code, response.json()["error"]["code"]) == (status, code), name
    assert server.http.get("/health").status_code == 200


def test_a_body_above_the_limit_is_refused_while_it_is_sent(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(80):
            yield b"\0" * (1 << 20)

    try:
        response = server.http.post("/v1/captions", content=endless(), headers=PNG)
    except httpx.WriteError:  # the server may close the connection before all is sent
        return
    assert response.status_code == 413


def test_a_raising_captioner_fails_its_own_images_and_keeps_serving(server: Server, pictures: Pictures) -> None:
    failed = server.post(pictures[RAISES])
    assert failed.status_code == 500
    assert failed.json()["error"]["code"] == "captioner_failed"
    assert server.post(pictures[FINE]).status_code == 200


def test_images_of_other_requests_in_a_failing_batch_are_captioned(server: Server, pictures: Pictures) -> None:
    with ThreadPoolExecutor(3) as threads:
        slow = threads.submit(patient_post, server, pictures[SLOW])  # while it runs, the next two wait: one batch
        time.sleep(0.15)
        fine = threads.submit(patient_post, server, pictures[FINE])
        time.sleep(0.1)
        bad = threads.submit(patient_post, server, pictures[RAISES])
        assert [slow.result(), fine.result(), bad.result()] == [200, 200, 500]


def patient_post(server: Server, data: bytes) -> int:
    """The first status that is not 503: this server's queue has one place, and Serve counts calls on their way."""
    for _ in range(20):
        status = server.post(data).status_code
        if status != 503:
            break
        time.sleep(0.1)
    return status


def test_a_full_queue_is_503_with_retry_after_and_the_client_gets_through(server: Server, pictures: Pictures) -> None:
    with ThreadPoolExecutor(12) as threads:
        responses = list(threads.map(server.post, [pictures[SLOW]] * 12))
    statuses = {response.status_code for response in responses}
    assert statuses == {200, 503}
    refused = next(response for response in responses if response.status_code == 503)
    assert refused.json()["error"]["code"] == "captioner_busy"
    assert refused.headers["Retry-After"] == "1"
    client = CaptionClient(str(server.http.base_url), images_per_request=1, concurrency=6)
    results = client.caption([(str(number), pictures[SLOW]) for number in range(8)])
    assert [result.id for result in results if result.text] == [str(number) for number in range(8)]


def test_a_client_that_goes_away_leaves_nothing_behind(server: Server, pictures: Pictures) -> None:
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            server.http.post("/v1/captions", content=pictures[SLOW], headers=PNG, timeout=0.05)
    time.sleep(2.5)
    assert server.post(pictures[FINE]).status_code == 200
    assert " 0.0" in next(
        line
        for line in server.http.get("/metrics").text.splitlines()
        if line.startswith("sightline_captioner_requests_held{")
    )


def test_half_a_request_holds_nobody_up(server: Server, pictures: Pictures) -> None:
    port = server.http.base_url.port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as stuck:
        stuck.sendall(
            b"POST /v1/captions HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc"
        )
        assert server.post(pictures[FINE]).status_code == 200


def test_a_replica_that_dies_is_replaced(server: Server, pictures: Pictures) -> None:
    died = server.post(pictures[DIES])
    assert (died.status_code, died.json()["error"]["code"]) == (503, "captioner_unavailable")
    body = {"images": [{"data": base64.b64encode(pictures[FINE]).decode()}]}
    deadline = time.monotonic() + 40
    while (response := server.http.post("/v1/captions", json=body)).status_code != 200:
        assert response.status_code == 503
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_metrics_tell_what_happened(server: Server) -> None:
    text = server.http.get("/metrics").text
    for code in ("ok", "captioner_failed", "too_thin"):
        assert f'sightline_captioner_images_total{{code="{code}",replica="' in text
    assert 'sightline_captioner_requests_total{replica="' in text


def test_a_second_server_on_the_same_port_says_so(server: Server) -> None:
    command = [sys.executable, "-m", "serving.captioner.run", "--port", str(server.http.base_url.port)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 3
    assert f"port {server.http.base_url.port} of 127.0.0.1 is in use" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--preset", "huge"], "preset='huge'"),
        (["--max-images", "0"], "max_images"),
        (["--temp-dir", "/tmp/" + "x" * 60], "--temp-dir"),
    ],
)
def test_unusable_settings_are_refused_before_anything_starts(flags: list[str], part: str, free_port: int) -> None:
    command = [sys.executable, "-m", "serving.captioner.run", "--port", str(free_port), *flags]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert part in run.stderr
    assert "Traceback" not in run.stderr


def test_the_readmes_commands_work(server: Server, pictures: Pictures, encode: Encode, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(pictures[FINE])
    (tmp_path / "poster.jpg").write_bytes(encode(Image.new("RGB", (40, 30), FINE), "JPEG"))
    readme = (ROOT / "serving/captioner/README.md").read_text()
    blocks = [block for block in re.findall(r"```bash\n(.*?)```", readme, re.DOTALL) if "curl" in block]
    assert len(blocks) == 4
    for block in blocks:
        script = block.replace("http://127.0.0.1:8001", str(server.http.base_url).rstrip("/"))
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, (block, run.stderr)
        assert "a 40 by 30 picture" in run.stdout or "replicas" in run.stdout, block


def test_the_readme_names_every_metric_and_the_default_refusals(server: Server, bad_pictures: Bad) -> None:
    readme = (ROOT / "serving/captioner/README.md").read_text()
    names = set(re.findall(r"# TYPE sightline_captioner_(\w+) ", server.http.get("/metrics").text))
    metrics = {name for name in names if not name.endswith("_created")}
    assert len(metrics) == 8
    codes = {code for _, _, code in bad_pictures.values()}
    assert [word for word in sorted(metrics | codes) if f"`{word}" not in readme] == []


def test_after_sigkill_no_process_is_left(server: Server) -> None:
    """The last test: it ends the server."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(10)
    assert left_over(server) == []
