"""The errors that are a job's answer: its message says it all, and no traceback is printed."""

from __future__ import annotations

from models.bundle import BundleError
from models.contract import ContractError
from models.export.onnx import ExportError
from models.store.errors import ModelStoreError
from models.triton.repository import RepositoryError
from training.checkpoint import CheckpointError
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
    RankError,
    RecipeError,
    RepositoryError,
    TrainingError,
)
