"""The contract as a document: closed, frozen, canonical, and clear about every fault at once."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import (
    CaptionFeature,
    CategoricalFeature,
    Contract,
    ContractError,
    ContractFormatError,
    DenseFeature,
    DigestMismatchError,
    HashBuckets,
    HashEncoder,
    IdentityEncoder,
    IntegerRange,
    MultiHashEncoder,
    QREncoder,
    TensorSpec,
    Vocabulary,
)


def shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(entry, random) for entry in value] if isinstance(value, list) else value


def described(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: text if key == "description" else described(entry, text) for key, entry in value.items()}
    return [described(entry, text) for entry in value] if isinstance(value, list) else value


@given(random=st.randoms(), text=st.text(max_size=20), indent=st.sampled_from([None, 3]))
def test_the_digest_ignores_key_order_white_space_and_descriptions(
    contract: Contract, random: Any, text: str, indent: int | None
) -> None:
    document = json.loads(contract.to_json())
    changed = json.dumps(described(shuffled(document, random), text), indent=indent)
    assert Contract.from_json(changed).digest == contract.digest


def test_the_digest_is_the_sha256_of_the_canonical_json(contract: Contract) -> None:
    text = contract.canonical_json()
    assert contract.digest == "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert "description" not in text
    assert "digest" not in text
    assert "in years" not in text


def test_a_contract_survives_its_json(contract: Contract) -> None:
    assert Contract.from_json(contract.to_json()) == contract
    assert Contract.from_json(contract.to_json().encode()) == contract
    assert Contract.from_json(contract.to_json()).to_json() == contract.to_json()


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0.0, -0.0), (1e2, 100.0), (0.1 + 0.2, 0.30000000000000004)])
def test_equal_floats_have_one_spelling(one: float, other: float) -> None:
    digests = {
        Contract(name="c", version=1, dense=[DenseFeature(name="x", source="user", default=value)]).digest
        for value in (one, other)
    }
    assert len(digests) == 1


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [path] if entries is None else [leaf for key, entry in entries for leaf in leaves(entry, (*path, key))]


def test_every_value_but_a_description_changes_the_digest(contract: Contract, document: dict[str, Any]) -> None:
    changed = 0
    for path in leaves(document):
        spoilt = json.loads(json.dumps(document))
        holder = spoilt
        for key in path[:-1]:
            holder = holder[key]
        old = holder[path[-1]]
        holder[path[-1]] = not old if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else old + "0"
        try:
            digest = Contract.from_json(json.dumps(spoilt)).digest
        except ContractFormatError:
            continue
        changed += 1
        assert (digest == contract.digest) == (path[-1] == "description")
    assert changed > 25


def test_a_changed_file_is_refused_with_both_digests(contract: Contract) -> None:
    text = contract.to_json().replace('"max_tokens": 6', '"max_tokens": 5')
    with pytest.raises(DigestMismatchError) as caught:
        Contract.from_json(text)
    assert caught.value.expected == contract.digest
    assert contract.digest in str(caught.value)
    assert caught.value.actual in str(caught.value)


def test_all_faults_are_told_at_once_with_paths(document: dict[str, Any]) -> None:
    document["version"] = 0
    document["colour"] = "red"
    document["dense"][0]["std"] = -1
    document["dense"][1]["source"] = "film"
    document["dense"][2]["name"] = "hour"
    document["categorical"][0]["encoding"]["buckets"] = "many"
    document["categorical"][1]["encoding"]["values"] = ["M", "M"]
    document["categorical"][2]["encoding"]["high"] = -5
    document["categorical"][3]["encoding"]["kind"] = "hashing"
    document["caption"]["encoder"]["max_ngram"] = 7
    del document["caption"]["tokenizer_sha256"]
    with pytest.raises(ContractFormatError) as caught:
        Contract.from_json(json.dumps(document))
    assert {fault.path for fault in caught.value.faults} == {
        "version",
        "colour",
        "dense[0].std",
        "dense[1].source",
        "categorical[2].name",
        "categorical[0].encoding.buckets",
        "categorical[1].encoding.values",
        "categorical[2].encoding.high",
        "categorical[3].encoding",
        "caption.tokenizer_sha256",
    }
    for fault in caught.value.faults:
        assert fault.value
        assert fault.expected
        assert fault.fix
        assert str(fault) in str(caught.value)


GOOD: dict[str, Any] = {"name": "x", "source": "user"}
BAD_PARTS = [
    (DenseFeature, {**GOOD, "default": "1"}, "default: is '1'; expected a valid number; change"),
    (DenseFeature, {**GOOD, "default": float("nan")}, "default: is nan; expected a finite number; change"),
    (DenseFeature, {**GOOD, "default": 0.0, "std": 0.0}, "std: is 0.0; expected greater than 0; change"),
    (DenseFeature, {**GOOD, "default": -1.0, "transform": "log1p"}, "default: is -1.0; expected a number above -1"),
    (DenseFeature, {**GOOD}, r"default: is missing; expected a value \(the field is required\); add the field"),
    (DenseFeature, {**GOOD, "default": 0.0, "mena": 1.0}, "mena: is 1.0; expected no such key; remove"),
    (DenseFeature, {"name": "a b", "source": "user", "default": 0.0}, "name: is 'a b'; expected String should match"),
    (DenseFeature, {"name": "a", "source": "film", "default": 0.0}, "source: is 'film'; expected 'user', 'item' or"),
    (Vocabulary, {"values": ()}, r"values: is \(\); expected .* at least 1 item"),
    (Vocabulary, {"values": ("a", "b", "a")}, r"values: is \['a'\]; expected values that all differ; remove"),
    (HashBuckets, {"buckets": 2}, "buckets: is 2; expected greater than or equal to 3; change"),
    (HashBuckets, {"buckets": 2**31}, "buckets: is 2147483648; expected less than or equal to 2147483647"),
    (HashBuckets, {"buckets": 9, "seed": -1}, "seed: is -1; expected greater than or equal to 0"),
    (HashBuckets, {"buckets": 9, "seed": 2**64}, "seed: is 18446744073709551616; expected less than or equal to"),
    (IntegerRange, {"low": 3, "high": 2}, r"high: is 2; expected at least low \(3\); swap"),
    (
        IntegerRange,
        {"low": 0, "high": 2**40},
        "high: is 1099511627776; expected at most .* buckets.*; use hash_buckets",
    ),
    (IntegerRange, {"low": True, "high": 2}, "low: is True; expected a valid integer; change"),
    (IdentityEncoder, {"vocabulary_size": 0}, "vocabulary_size: is 0; expected greater than or equal to 1"),
    (HashEncoder, {"buckets": 9, "max_ngram": 9}, "max_ngram: is 9; expected less than or equal to 8"),
    (MultiHashEncoder, {"buckets": 9, "seeds": (1, 1)}, r"seeds: is \(1, 1\); expected seeds that all differ; replace"),
    (MultiHashEncoder, {"buckets": 9, "seeds": (1,)}, "seeds: .* at least 2 items"),
    (QREncoder, {"vocabulary_size": 9, "divisor": 9}, r"divisor: is 9; expected a divisor below vocabulary_size \(9\)"),
    (
        CaptionFeature,
        {"tokenizer_sha256": "A" * 64, "max_tokens": 1, "encoder": HashEncoder(buckets=9)},
        "should match",
    ),
    (Contract, {"name": "c", "version": 1}, r"\(whole\): is without any feature; expected at least one feature; add"),
    (Contract, {"name": "c", "version": 1, "format": 3}, "format: is 3; expected 1 or 2; change"),
]


@pytest.mark.parametrize(("model", "values", "message"), BAD_PARTS)
def test_a_bad_part_is_refused_by_field_value_and_expectation(model: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractFormatError, match=message) as caught:
        model(**values)
    assert isinstance(caught.value, ContractError)
    assert caught.value.where == model.__name__


BAD_TEXTS = [
    ("", "line 1, column 1: is Expecting value; expected well-formed JSON; correct"),
    ("{", "expected well-formed JSON; correct"),
    ("[]", r"\(whole\): is a list; expected an object; write"),
    ('{"name": "a", "name": "b"}', "name: is given 2 times; expected one key; remove"),
    ('{"version": NaN}', r"\(number\): is NaN; expected a finite number; replace"),
    (b"\xff", r"byte 0: is b'\\xff'; expected UTF-8; store"),
    ("[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS, ids=range(len(BAD_TEXTS)))
def test_what_is_no_strict_json_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ContractFormatError, match=message):
        Contract.from_json(text)


@pytest.mark.parametrize("value", ["1", 1.5, True, None])
def test_numbers_are_not_read_from_other_types(document: dict[str, Any], value: object) -> None:
    document["version"] = value
    with pytest.raises(ContractFormatError, match="version: is"):
        Contract.from_json(json.dumps(document))


def test_a_contract_is_frozen_and_hashable(contract: Contract) -> None:
    with pytest.raises(ValueError, match="frozen"):
        contract.version = 4  # type: ignore[misc]
    assert len({contract, Contract.from_json(contract.to_json())}) == 1


def test_a_copy_has_its_own_digest(contract: Contract) -> None:
    before = contract.digest
    copy = contract.model_copy(update={"version": 9})
    assert copy.digest != before
    assert Contract(**{**dict(contract), "version": 9}).digest == copy.digest
    assert contract.model_copy() == contract
    with pytest.raises(ContractFormatError, match="version: is 0"):
        contract.model_copy(update={"version": 0})


def test_defaults_are_the_promised_ones() -> None:
    feature = DenseFeature(name="x", source="user", default=1.0)
    assert (feature.mean, feature.std, feature.transform, feature.description) == (0.0, 1.0, "identity", "")
    encoder = HashEncoder(buckets=9)
    assert (encoder.seed, encoder.max_ngram) == (0, 1)
    caption = CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=3, encoder=encoder)
    assert (caption.deduplicate, caption.normalization) == (False, "nfkc-lower")
    contract = Contract(name="c", version=1, caption=caption)
    assert (contract.format, contract.dense, contract.categorical, contract.description) == (1, (), (), "")


def caption_of(encoder: Any) -> CaptionFeature:
    return CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=4, encoder=encoder)


@pytest.mark.parametrize(
    ("encoder", "parts", "width", "sizes"),
    [
        (IdentityEncoder(vocabulary_size=32_000), 1, 4, (32_002,)),
        (HashEncoder(buckets=99, max_ngram=3), 1, 9, (99,)),
        (MultiHashEncoder(buckets=99, seeds=(1, 2)), 2, 4, (99, 99)),
        (QREncoder(vocabulary_size=100, divisor=7), 2, 4, (17, 9)),
    ],
)
def test_tensors_and_tables_follow_from_the_encoder(
    encoder: Any, parts: int, width: int, sizes: tuple[int, ...]
) -> None:
    caption = caption_of(encoder)
    assert (caption.parts, caption.width, caption.table_sizes) == (parts, width, sizes)
    shape = (-1, width) if parts == 1 else (-1, width, parts)
    assert Contract(name="c", version=1, caption=caption).tensors == (TensorSpec("caption", "int64", shape),)


def test_tensors_of_kinds_without_features_are_left_out(contract: Contract) -> None:
    assert [(t.name, t.dtype, t.shape) for t in contract.tensors] == [
        ("dense", "float32", (-1, 3)),
        ("categorical", "int64", (-1, 4)),
        ("caption", "int64", (-1, 11)),
    ]
    assert [tensor.name for tensor in contract.without_caption().tensors] == ["dense", "categorical"]
    assert contract.output == TensorSpec("score", "float32", (-1,))
    assert contract.without_caption().digest != contract.digest


def test_buckets_count_the_reserved_ones() -> None:
    sizes = [
        CategoricalFeature(name="x", source="item", encoding=encoding).buckets
        for encoding in (Vocabulary(values=["a", "b"]), HashBuckets(buckets=9), IntegerRange(low=-1, high=1))
    ]
    assert sizes == [4, 9, 5]
