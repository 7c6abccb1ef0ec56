"""Options of the cluster tests, known to every run so that they are collected always and run on one flag."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster", "tests on a real Kubernetes cluster (tests/e2e)")
    group.addoption("--kubeconfig", type=Path, help="Run them, on the cluster of this kubeconfig's current context.")
    group.addoption(
        "--images-loaded", action="store_true", help="The images are on the nodes; otherwise they are loaded into kind."
    )
    group.addoption("--image-registry", default="", help="Registry that the cluster pulls the images from.")
    group.addoption("--keep-namespace", action="store_true", help="Leave the tests' namespaces for a look at them.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--kubeconfig") is None:
        skip = pytest.mark.skip(reason="needs a cluster: make e2e KUBECONFIG=path, or pytest --kubeconfig path")
        for item in items:
            if item.get_closest_marker("cluster"):
                item.add_marker(skip)
