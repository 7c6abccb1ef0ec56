"""What changed between two contracts, and whether the version must grow."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from models.contract import Contract, VersionBumpError, check_bump, differences

Change = Callable[[dict[str, Any]], object]


def changed(document: dict[str, Any], change: Change) -> Contract:
    copy = json.loads(json.dumps(document))
    change(copy)
    return Contract.from_json(json.dumps(copy))


ENCODED: list[tuple[Change, str]] = [
    (lambda d: d["dense"].pop(0), "dense.popularity: removed"),
    (lambda d: d["dense"].append({"name": "new", "source": "user", "default": 0}), "dense.new: added"),
    (lambda d: d["dense"].reverse(), "dense: order changed from popularity, age, minutes to minutes, age, popularity"),
    (lambda d: d["dense"][1].update(std=12.0), "dense.age.std: changed from 11.0 to 12.0"),
    (lambda d: d["dense"][1].update(default=12.0), "dense.age.default: changed from 30.0 to 12.0"),
    (
        lambda d: d["categorical"][0]["encoding"].update(seed=8),
        "categorical.item_id.encoding.seed: changed from 7 to 8",
    ),
    (
        lambda d: d["categorical"][1]["encoding"].update(values=["F", "X", "M"]),
        "categorical.gender.encoding.values: 1 removed ['']; 1 added ['X']",
    ),
    (
        lambda d: d["categorical"][1]["encoding"].update(values=["F", "M", ""]),
        "categorical.gender.encoding.values: order changed",
    ),
    (lambda d: d.update(caption=None), "caption: removed"),
    (lambda d: d["caption"].update(max_tokens=7), "caption.max_tokens: changed from 6 to 7"),
    (lambda d: d["caption"].update(tokenizer_sha256="0" * 64), "caption.tokenizer_sha256: changed from"),
    (
        lambda d: d["caption"].update(encoder={"kind": "identity", "vocabulary_size": 500}),
        "caption.encoder.kind: changed from 'hash' to 'identity'",
    ),
    (lambda d: d.update(name="movies"), "name: changed from 'films' to 'movies'"),
]


@pytest.mark.parametrize(("change", "words"), ENCODED, ids=[words[:40] for _, words in ENCODED])
def test_a_change_of_what_is_encoded_needs_a_higher_version(
    contract: Contract, document: dict[str, Any], change: Change, words: str
) -> None:
    new = changed(document, change)
    assert new.digest != contract.digest
    assert words in "\n".join(str(difference) for difference in differences(contract, new))
    with pytest.raises(VersionBumpError) as caught:
        check_bump(contract, new)
    assert words in str(caught.value)
    assert "version is 3; expected at least 4" in str(caught.value)
    check_bump(contract, changed(document, lambda d: (change(d), d.update(version=4))))


def test_descriptions_need_no_higher_version(contract: Contract, document: dict[str, Any]) -> None:
    def describe(copy: dict[str, Any]) -> None:
        copy["description"] = "other"
        copy["dense"][0]["description"] = "other"
        copy["caption"]["description"] = "other"

    new = changed(document, describe)
    assert new.digest == contract.digest
    assert [d.path for d in differences(contract, new)] == [
        "description",
        "dense.popularity.description",
        "caption.description",
    ]
    assert not any(difference.encoded for difference in differences(contract, new))
    check_bump(contract, new)


def test_equal_contracts_differ_in_nothing(contract: Contract) -> None:
    assert differences(contract, contract) == ()
    check_bump(contract, contract)


def test_a_version_never_goes_down(contract: Contract, document: dict[str, Any]) -> None:
    check_bump(contract, changed(document, lambda d: d.update(version=9)))
    with pytest.raises(VersionBumpError, match="version is 2; expected at least 3"):
        check_bump(contract, changed(document, lambda d: d.update(version=2)))
