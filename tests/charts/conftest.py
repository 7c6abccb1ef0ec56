import pytest
from scenario import FILES, every


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `scenario` runs for every one of them."""
    if "scenario" in metafunc.fixturenames:
        metafunc.parametrize("scenario", every(), ids=list(FILES))
