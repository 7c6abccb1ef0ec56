"""The errors that are answers: shown as a message, not as a traceback."""

from models.bundle import BundleError
from models.captioner.errors import CaptionerLoadError, UnknownPresetError
from models.contract import ContractError
from models.items import ItemStoreError
from models.triton.repository import RepositoryError
from serving.captioner.client import CaptionerUnreachableError
from serving.stack.errors import StackError
from serving.stack.triton_server import TritonServerError
from training.data.errors import DataError
from training.errors import TrainingError


def errors() -> tuple[type[Exception], ...]:
    """Every package's own refusal, by its base class."""
    return (
        BundleError,
        CaptionerLoadError,
        CaptionerUnreachableError,
        ContractError,
        DataError,
        ItemStoreError,
        RepositoryError,
        StackError,
        TrainingError,
        TritonServerError,
        UnknownPresetError,
    )
