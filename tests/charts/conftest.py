from pathlib import Path

import pytest
from scenario import FILES, every

RECIPE = """
name: demo
ranker: {architecture: dcn, embedding: {size: 4}, deep: [8]}
training: {batch_size: 256, epochs: 2, threads: 1}
caption: {buckets: 500}
seeds: [1]
splits: [{name: within_user}]
bootstrap: {resamples: 100}
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `scenario` runs for every one of them."""
    if "scenario" in metafunc.fixturenames:
        metafunc.parametrize("scenario", every(), ids=list(FILES))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the images carry at /opt/sightline/demo, smaller."""
    from training.demo.build import Size, build  # torch: seconds that most tests of the chart need not wait for

    folder = tmp_path_factory.mktemp("demo")
    (folder / "recipe.yaml").write_text(RECIPE)
    build(
        folder / "demo",
        created="2026-11-24T10:00:00+00:00",
        git_revision="unknown",
        size=Size(users=24, items=30, interactions=1200),
        recipe=folder / "recipe.yaml",
    )
    return folder / "demo"
