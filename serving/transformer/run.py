"""Start the transformer: `python -m serving.transformer.run --bundle ... --store ... --predictor_host ...`."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence

import uvloop

from models.bundle import BundleError
from models.contract import ContractError
from models.items import ItemStoreError
from models.logs import LogsError, log_to_stderr
from models.store.errors import ModelStoreError
from serving.transformer.build import Built, build
from serving.transformer.naming import ArmNaming, read_naming
from serving.transformer.settings import Settings, SettingsError, read_settings
from serving.transformer.watching import watched

log = logging.getLogger("sightline.transformer")


def main(argv: Sequence[str]) -> int:
    """Serve until a signal; return the exit code: 0 after a signal, 1 if it cannot start, 2 for wrong settings."""
    try:
        logs = log_to_stderr(os.environ)
        logging.getLogger("kserve.trace").setLevel(logs.at_least(logging.WARNING))  # it writes two lines per probe
        logging.getLogger("httpx").setLevel(logs.at_least(logging.WARNING))  # and that one per batch of exposures
        settings = read_settings(argv, os.environ)
        naming = read_naming(settings.arm_header, os.environ)
    except (LogsError, SettingsError) as error:
        sys.stderr.write(f"the transformer's settings cannot be used:\n{error}\n")
        return 2
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, naming))
    except (
        BundleError,
        ContractError,
        ItemStoreError,
        ModelStoreError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        log.error("the transformer cannot start: %s", error)
        return 1
    return 0


async def _serve(settings: Settings, naming: ArmNaming) -> None:
    built = build(settings)
    with _own_arguments():  # after what may refuse to start: kserve takes seconds to import
        from serving.transformer.kserve_model import RankerModel
        from serving.transformer.kserve_server import Listening, serve
    models = {ranker.name: RankerModel(ranker) for ranker in built.rankers}
    routers = built.routers({name: model.rank for name, model in models.items()})
    for name, model in models.items():
        model.answers_when(routers[name].require)
    service = built.service(routers)
    listening = Listening(
        host=settings.host,
        http_port=settings.http_port,
        grpc_port=settings.grpc_port,
        max_body_bytes=settings.max_body_bytes,
        max_grpc_message_bytes=settings.max_grpc_message_bytes,
        max_held_bytes=settings.max_held_bytes,
        max_grpc_calls=settings.max_grpc_calls,
        grpc_connection_age_seconds=settings.grpc_connection_age_seconds,
        retry_after_seconds=settings.retry_after_seconds,
        max_connections=settings.max_connections,
        grace_seconds=settings.grace_seconds,
        naming=naming,
    )
    async with _background(built):
        gc.collect()
        gc.freeze()  # contracts, tokenizers and libraries are never garbage: a full collection costs tens of ms
        log.info("REST on %s:%d, gRPC on %s:%d", settings.host, settings.http_port, settings.host, settings.grpc_port)
        await serve(service, list(models.values()), listening)


@contextlib.asynccontextmanager
async def _background(built: Built) -> AsyncIterator[None]:
    """Run the watches beside the servers, then close what was opened."""
    tasks = [watched(watch, name) for name, watch in built.watches().items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await built.close()


@contextlib.contextmanager
def _own_arguments() -> Iterator[None]:
    """Importing kserve parses sys.argv: hide ours, which it would misread."""
    given, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
