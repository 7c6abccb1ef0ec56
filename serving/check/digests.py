"""The contract's digest where it can be read apart from the transformer's answers."""

from pathlib import Path

from models.bundle import BundleError, read_bundle
from models.contract import ContractError
from serving.check.findings import CheckFailedError
from serving.check.over_http import get_json


def of_triton(url: str, model: str, timeout: float) -> str:
    """`contract_digest` among the parameters of Triton's model configuration; raises `CheckFailedError`."""
    address = f"{url}/v2/models/{model}/config"
    told = get_json(address, timeout)
    try:
        return str(told["parameters"]["contract_digest"]["string_value"])
    except (KeyError, TypeError) as error:
        raise CheckFailedError(
            f"GET {address}: no parameter contract_digest; serve a repository that Sightline wrote", final=True
        ) from error


def of_bundle(folder: Path) -> str:
    """The contract of a bundle whose files are all as its manifest says; raises `CheckFailedError`."""
    try:
        return read_bundle(folder).contract.digest
    except (BundleError, ContractError) as error:
        raise CheckFailedError(str(error), final=True) from error
