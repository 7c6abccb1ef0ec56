"""The ranker's container with a certificate, asked by the transformer's own client of Triton."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from authority import Authority

from models.bundle import Bundle
from serving.transformer.errors import PredictorUnavailableError
from serving.transformer.predictor import Predictor, open_channel

NAME = "sightline-ranker"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def port(
    authority: Authority, bundle: Bundle, running_ranker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """Of a Triton whose certificate is for the role's name alone, whatever its address."""
    folder = tmp_path_factory.mktemp("tls")
    shown = authority.write(folder / "tls", NAME)
    pair = (f"--tls-certificate={shown / 'tls.crt'}", f"--tls-key={shown / 'tls.key'}")
    with running_ranker(folder, f"--bundle={bundle.path}", *pair) as running:
        yield running.ports.grpc


@asynccontextmanager
async def asking(port: int, **tls: Any):
    channel = open_channel(f"127.0.0.1:{port}", 1 << 20, **tls)
    clock = asyncio.get_running_loop().time
    try:
        yield Predictor(channel, retries=1, retry_after=2.0, clock=clock, uniform=lambda a, b: a)
    finally:
        await channel.close()


async def test_a_client_that_believes_its_authority_is_answered(
    port: int, authority: Authority, bundle: Bundle
) -> None:
    tensors = {
        spec.name: np.zeros((3, *(size for size in spec.shape[1:])), spec.dtype) for spec in bundle.contract.tensors
    }
    async with asking(port, authorities=authority.pem, name=NAME) as predictor:
        deadline = asyncio.get_running_loop().time() + 20
        answer = await predictor.score("ranker", tensors, deadline)
    assert answer.scores.shape == (3,)


@pytest.mark.parametrize("name", [None, "sightline-collector"])
async def test_a_certificate_for_another_name_is_refused_in_words(
    port: int, authority: Authority, name: str | None
) -> None:
    async with asking(port, authorities=authority.pem, name=name) as predictor:
        with pytest.raises(
            PredictorUnavailableError, match=r"not believed.*set predictor_ca_file .*predictor_tls_name"
        ):
            await predictor.ready("ranker", asyncio.get_running_loop().time() + 20)


async def test_a_certificate_of_another_authority_is_refused_in_words(port: int) -> None:
    async with asking(port, authorities=Authority("a stranger").pem, name=NAME) as predictor:
        with pytest.raises(PredictorUnavailableError, match=r"not believed.*set predictor_ca_file"):
            await predictor.ready("ranker", asyncio.get_running_loop().time() + 20)


async def test_a_client_without_tls_gets_no_answer(port: int) -> None:
    async with asking(port) as predictor:
        with pytest.raises(PredictorUnavailableError, match="predictor_ca_file"):
            await predictor.ready("ranker", asyncio.get_running_loop().time() + 20)


def test_nothing_older_than_tls_1_2_is_spoken(port: int, authority: Authority) -> None:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as new,
    ):
        assert new.version() in ("TLSv1.2", "TLSv1.3")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname=NAME)
