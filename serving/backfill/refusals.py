"""The errors that are answers: their message is the Job's, without a traceback."""

from models.contract import ContractError
from models.items import ItemRowError, ItemStoreError, ItemStoreOriginError
from serving.backfill.errors import BackfillError, PlaceError
from serving.captioner.client import CaptionerUnreachableError
from serving.tls import TlsError
from training.data.errors import DataError
from training.job_inputs import InputError
from training.recipe import RecipeError

REFUSALS = (
    BackfillError,
    ContractError,
    DataError,
    InputError,
    ItemRowError,
    ItemStoreOriginError,
    RecipeError,
    TlsError,
)
"""It would fail again."""
AWAY = (CaptionerUnreachableError, ItemStoreError, PlaceError)
"""A service that is needed does not answer, or refuses: a later attempt may succeed. Asked after REFUSALS."""
