"""Golden vectors and rows: what was encoded once is encoded so for ever (or `Contract.format` is bumped)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract import Contract, encode, normalize
from models.contract.hashing import reduce_to_range, string_hashes, token_hashes

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "vectors.json").read_text("ascii"))


def test_the_golden_file_is_whole() -> None:
    assert [len(GOLDEN[k]) for k in ("token_hashes", "string_hashes", "reductions", "normalized", "rows")] == [
        3,
        3,
        5,
        8,
        11,
    ]


@pytest.mark.parametrize("entry", GOLDEN["token_hashes"], ids=lambda e: str(e["seed"]))
def test_token_hashes_are_golden(entry: dict[str, Any]) -> None:
    assert [str(value) for value in token_hashes(np.array(entry["ids"]), entry["seed"])] == entry["hashes"]


@pytest.mark.parametrize("entry", GOLDEN["string_hashes"], ids=lambda e: str(e["seed"]))
def test_string_hashes_are_golden(entry: dict[str, Any]) -> None:
    assert [str(value) for value in string_hashes(entry["strings"], entry["seed"])] == entry["hashes"]


@pytest.mark.parametrize("entry", GOLDEN["reductions"], ids=lambda e: str(e["size"]))
def test_reductions_are_golden(entry: dict[str, Any]) -> None:
    hashes = np.array([int(value) for value in entry["hashes"]], dtype=np.uint64)
    assert reduce_to_range(hashes, entry["size"]).tolist() == entry["values"]


@pytest.mark.parametrize(("text", "expected"), GOLDEN["normalized"])
def test_normalised_texts_are_golden(text: str, expected: str) -> None:
    assert normalize(text) == expected


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["name"])
def test_contracts_digests_and_rows_are_golden(row: dict[str, Any]) -> None:
    contract = Contract.from_json(json.dumps(row["contract"]))
    assert contract.digest == row["digest"]
    tokens = [None if ids is None else np.array(ids, dtype=np.int32) for ids in GOLDEN["tokens"]]
    tensors = encode(contract, GOLDEN["columns"], tokens)
    assert list(tensors) == list(row["tensors"]) == ["dense", "categorical", "caption"]
    for name, golden in row["tensors"].items():
        tensor = tensors[name]
        assert (str(tensor.dtype), list(tensor.shape)) == (golden["dtype"], golden["shape"])
        if "values" in golden:
            assert tensor.tolist() == golden["values"]
        else:
            assert tensor.astype(tensor.dtype.newbyteorder("<")).tobytes().hex() == golden["little_endian_hex"]
