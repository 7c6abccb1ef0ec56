"""Which errors are a job's answer, told without a traceback, and which of all may be gone at the next attempt."""

from __future__ import annotations

from collections.abc import Iterator

from models.bundle import BundleError
from models.contract import ContractError
from models.disk import NoRoomError, is_no_room
from models.export.onnx import ExportError
from models.store.errors import ModelStoreError, StoreUnreachableError
from models.triton.repository import RepositoryError
from training.checkpoint_file import CheckpointError
from training.data.errors import DataError
from training.distributed import RankError
from training.loop import TrainingError
from training.recipe import RecipeError

REFUSALS: tuple[type[Exception], ...] = (
    BundleError,
    CheckpointError,
    ContractError,
    DataError,
    ExportError,
    ModelStoreError,
    NoRoomError,
    RankError,
    RecipeError,
    RepositoryError,
    TrainingError,
)
_AWAY = (StoreUnreachableError, ConnectionError, TimeoutError)
_CLIENTS = {"aiobotocore", "aiohttp", "botocore"}
"""Packages whose errors are those of a service that did not answer as it should; none of them is always installed."""


def is_away(error: BaseException) -> bool:
    """Whether the error is, or comes from, a service that did not answer, or a disk that takes no more."""
    return any(
        isinstance(each, _AWAY) or is_no_room(each) or type(each).__module__.partition(".")[0] in _CLIENTS
        for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
