"""The errors that are answers: their message is the Job's, without a traceback."""

from models.contract import ContractError
from models.items import ItemStoreError
from serving.backfill.errors import BackfillError
from serving.captioner.client import CaptionerUnreachableError
from training.data.errors import DataError
from training.job_inputs import InputError
from training.recipe import RecipeError

REFUSALS = (BackfillError, CaptionerUnreachableError, ContractError, DataError, InputError, ItemStoreError, RecipeError)
