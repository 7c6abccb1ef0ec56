"""What tests of several packages share: the options of the cluster tests, and an S3 server of the test process's own.

The options are known to every run, so that the cluster tests are collected always and run on one flag.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# By what they took, longest first: the last folder of a run should be a short one.
HEAVY = ("stack", "charts", "transformer", "jobs", "serving_captioner", "replay", "operator", "cli", "training")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster", "tests on a real Kubernetes cluster (tests/e2e)")
    group.addoption("--kubeconfig", type=Path, help="Run them, on the cluster of this kubeconfig's current context.")
    group.addoption(
        "--images-loaded", action="store_true", help="The images are on the nodes; otherwise they are loaded into kind."
    )
    group.addoption("--image-registry", default="", help="Registry that the cluster pulls the images from.")
    group.addoption("--keep-namespace", action="store_true", help="Leave the tests' namespaces for a look at them.")


class FolderScheduling(LoadScopeScheduling):
    """Tests of one folder share servers, so that one of the processes runs all of them."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("/")[1]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FolderScheduling:
    return FolderScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    folders = {item: item.path.relative_to(Path(__file__).parent).parts[0] for item in items}
    items.sort(key=lambda item: HEAVY.index(folders[item]) if folders[item] in HEAVY else len(HEAVY))
    if config.getoption("--kubeconfig") is None:
        skip = pytest.mark.skip(reason="needs a cluster: make e2e KUBECONFIG=path, or pytest --kubeconfig path")
        for item in items:
            if item.get_closest_marker("cluster"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of moto's S3 server on loopback.

    It serves one request at a time: moto looks for the object and writes it in two steps, and If-None-Match is one step
    in S3.
    """
    server = make_server("localhost", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def s3_files(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> s3fs.S3FileSystem:
    """The server's files; the environment is what a pod has, for child processes too.

    fsspec keeps file systems by their arguments, and what the environment said when they were made.
    """
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a password")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    return s3fs.S3FileSystem(skip_instance_cache=True)
