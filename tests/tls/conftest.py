from pathlib import Path

import pytest
from authority import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.crt of an authority that signed nothing of ours."""
    file = tmp_path_factory.mktemp("strangers") / "ca.crt"
    file.write_bytes(Authority("a stranger").pem)
    return file


@pytest.fixture(scope="session")
def shown(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server of this machine shows, and its authority: for 127.0.0.1 and for the role's name."""
    return authority.write(tmp_path_factory.mktemp("shown"), "127.0.0.1", "localhost", "sightline-ranker")
