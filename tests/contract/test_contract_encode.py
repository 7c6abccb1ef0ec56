"""One encoder: the request path and the training path give the same bytes; bad values are named."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import Contract, DenseFeature, FeatureEncoder, FeatureValueError, Side, encode

numbers = st.one_of(st.none(), st.floats(-0.9, 1e6), st.integers(0, 10**9), st.just(float("nan")))
strings = st.one_of(st.none(), st.text(st.characters(), max_size=5), st.sampled_from(["M", "F", ""]))
hours = st.one_of(st.none(), st.integers(-3, 30), st.integers(), st.just(7.0), st.just(float("nan")))
tokens = st.one_of(st.none(), st.lists(st.integers(0, 400), max_size=9).map(lambda ids: np.array(ids, np.int32)))
users = st.fixed_dictionaries({}, optional={"age": numbers, "gender": strings, "user_id": strings})
contexts = st.fixed_dictionaries({}, optional={"minutes": numbers, "hour": hours})
items = st.fixed_dictionaries({"popularity": numbers, "item_id": strings})
candidates = st.lists(st.tuples(items, tokens), min_size=1, max_size=7)


def bytes_of(tensors: dict[str, np.ndarray]) -> dict[str, bytes]:
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in {name for row in rows for name in row}}


def request_path(encoder: FeatureEncoder, user: dict, context: dict, chosen: list) -> dict[str, np.ndarray]:
    item_columns = columns_of([item for item, _ in chosen])
    return encoder.join(
        encoder.side("user", {name: [value] for name, value in user.items()}, 1),
        encoder.side("context", {name: [value] for name, value in context.items()}, 1),
        encoder.side("item", item_columns, len(chosen)),
        encoder.caption([ids for _, ids in chosen]),
    )


@given(user=users, context=contexts, chosen=candidates)
def test_a_request_gives_the_bytes_of_a_training_batch(
    contract: Contract, user: dict, context: dict, chosen: list
) -> None:
    rows = [{**user, **context, **item} for item, _ in chosen]
    request = request_path(FeatureEncoder(contract), user, context, chosen)
    batch = encode(contract, columns_of(rows), [ids for _, ids in chosen])
    assert bytes_of(request) == bytes_of(batch)
    for spec in contract.tensors:
        assert batch[spec.name].dtype == spec.dtype
        assert batch[spec.name].shape == (len(chosen), *spec.shape[1:])
    assert list(batch) == [spec.name for spec in contract.tensors]


@given(st.lists(st.tuples(users, contexts, items, tokens), min_size=1, max_size=9), st.randoms(), st.integers(1, 4))
def test_order_and_batch_size_do_not_change_a_rows_bytes(
    contract: Contract, drawn: list, random: Any, size: int
) -> None:
    encoder = FeatureEncoder(contract)
    rows = [({**user, **context, **item}, ids) for user, context, item, ids in drawn]
    whole = encoder.encode(columns_of([row for row, _ in rows]), [ids for _, ids in rows])
    order = list(range(len(rows)))
    random.shuffle(order)
    for start in range(0, len(order), size):
        part = order[start : start + size]
        batch = encoder.encode(columns_of([rows[i][0] for i in part]), [rows[i][1] for i in part])
        assert bytes_of(batch) == {name: tensor[part].tobytes() for name, tensor in whole.items()}


@given(st.lists(st.tuples(numbers, strings, hours), min_size=1, max_size=9))
def test_numpy_columns_give_the_bytes_of_lists(contract: Contract, rows: list) -> None:
    encoder = FeatureEncoder(contract)
    ages, genders, drawn_hours = map(list, zip(*rows, strict=True))
    small = [hour if hour is not None and abs(hour) < 2**31 else None for hour in drawn_hours]
    arrays = {
        "age": np.array([np.nan if age is None else age for age in ages], dtype=np.float64),
        "gender": np.array(genders, dtype=object),
    }
    by_list = encoder.side("user", {"age": ages, "gender": genders}, len(rows))
    by_array = encoder.side("user", arrays, len(rows))
    assert by_list.dense.tobytes() == by_array.dense.tobytes()
    assert by_list.categorical.tobytes() == by_array.categorical.tobytes()
    floats = np.array([np.nan if hour is None else hour for hour in small], dtype=np.float64)
    by_floats = encoder.side("context", {"hour": floats}, len(rows))
    assert by_floats.categorical.tobytes() == encoder.side("context", {"hour": small}, len(rows)).categorical.tobytes()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64])
def test_integer_arrays_of_any_width_give_the_buckets_of_lists(contract: Contract, dtype: type) -> None:
    encoder = FeatureEncoder(contract)
    values = np.array([0, 1, 23, 24, 100, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype=dtype)
    from_array = encoder.side("context", {"hour": values}, len(values)).categorical
    from_list = encoder.side("context", {"hour": values.tolist()}, len(values)).categorical
    np.testing.assert_array_equal(from_array, from_list)
    assert from_array[:4, 0].tolist() == [2, 3, 25, 1]


def test_values_become_the_documented_numbers(contract: Contract) -> None:
    encoded = encode(
        contract,
        {
            "popularity": [0, None, 99.0],
            "age": [33, None, 44.0],
            "gender": ["F", "other", ""],
            "hour": [0, 24, None],
        },
        [None, np.array([5], np.int32), None],
    )
    expected_popularity = [(np.log1p(value) - 2.0) / 1.5 for value in (0.0, 0.0, 99.0)]
    np.testing.assert_array_equal(encoded["dense"][:, 0], np.array(expected_popularity, np.float32))
    np.testing.assert_array_equal(encoded["dense"][:, 1], np.array([0.0, -3.0 / 11.0, 1.0], np.float32))
    assert encoded["dense"][:, 2].tolist() == [0.5] * 3
    assert encoded["categorical"][:, 0].tolist() == [0, 0, 0]
    assert encoded["categorical"][:, 1].tolist() == [3, 1, 4]
    assert encoded["categorical"][:, 2].tolist() == [2, 1, 0]
    assert encoded["caption"][:, 0].tolist()[::2] == [1, 1]


@given(st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=20))
def test_any_string_is_hashed_and_never_to_a_reserved_bucket(contract: Contract, values: list[str]) -> None:
    buckets = FeatureEncoder(contract).side("item", {"item_id": values}, len(values)).categorical[:, 0]
    assert ((buckets >= 2) & (buckets < 101)).all()
    assert len(set(zip(values, buckets.tolist(), strict=True))) == len(set(values))


WRONG = [
    ("user", "age", "44", "age, row 1: is '44'; expected a number; give"),
    ("user", "age", True, "age, row 1: is True; expected a number; give"),
    ("user", "age", float("inf"), "age, row 1: is inf; expected a finite number; leave"),
    ("user", "age", 1e300, "age, row 1: is 1e.300; expected a number within 1e.09 deviations .11. of the"),
    ("user", "age", 10**400, "age, row 1: is 1000.*expected a number in float64's range; correct"),
    ("item", "popularity", -1.0, r"popularity, row 1: is -1.0; expected a number above -1 \(log1p\); correct"),
    ("user", "gender", 3, "gender, row 1: is 3; expected a string; give"),
    ("user", "user_id", 196, r"user_id, row 1: is 196; expected a string; give a string \(str\(value\)\)"),
    ("user", "user_id", b"196", "user_id, row 1: is b'196'; expected a string; give"),
    ("user", "user_id", 1.5, "user_id, row 1: is 1.5; expected a string; give"),
    ("context", "hour", "7", "hour, row 1: is '7'; expected a whole number; give an int"),
    ("context", "hour", 7.5, "hour, row 1: is 7.5; expected a whole number; give an int"),
    ("context", "hour", False, "hour, row 1: is False; expected a whole number; give an int"),
    ("context", "hour", np.False_, "hour, row 1: is .*False.*; expected a whole number; give an int"),
    ("context", "hour", float("inf"), "hour, row 1: is inf; expected a whole number; give an int"),
]


@pytest.mark.parametrize(("source", "name", "value", "message"), WRONG)
def test_a_wrong_value_is_refused_by_feature_row_value_and_expectation(
    contract: Contract, source: Any, name: str, value: object, message: str
) -> None:
    with pytest.raises(FeatureValueError, match=message) as caught:
        FeatureEncoder(contract).side(source, {name: [None, value]}, 2)
    assert (caught.value.feature, caught.value.row) == (name, 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"agee": [1]}, "agee: is 'a column'; expected one of user's features: age, gender, user_id; remove"),
        ({"hour": [1]}, "hour: is 'a column'; expected one of user's features"),
        ({"age": [1, 2]}, "age: is '2 values'; expected '?1 rows"),
        ({"age": 3}, "age: is 3; expected a flat sequence"),
        ({"gender": "M"}, "gender: is 'M'; expected a flat sequence"),
        ({"age": np.ones((1, 1))}, "age: is array.*expected a flat sequence"),
        ({"age": np.float64(3.0)}, "age: is .*expected a flat sequence"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(contract: Contract, columns: dict, message: str) -> None:
    with pytest.raises(FeatureValueError, match=message):
        FeatureEncoder(contract).side("user", columns, 1)


def test_encode_refuses_unknown_columns_and_unequal_lengths(contract: Contract) -> None:
    with pytest.raises(FeatureValueError, match="ages: is 'a column'; expected one of the contract's features"):
        encode(contract, {"ages": [1]}, [None])
    with pytest.raises(FeatureValueError, match="hour: is '1 values'; expected 2 rows"):
        encode(contract, {"age": [1, 2], "hour": [1]}, [None, None])
    with pytest.raises(FeatureValueError, match="caption: is '1 rows of tokens'; expected 2 rows"):
        encode(contract, {"age": [1, 2]}, [None])


def test_join_repeats_one_row_and_refuses_other_mismatches(contract: Contract) -> None:
    encoder = FeatureEncoder(contract)
    user, context = encoder.side("user", {}, 1), encoder.side("context", {}, 1)
    items, caption = encoder.side("item", {}, 3), encoder.caption([None] * 3)
    assert {tensor.shape[0] for tensor in encoder.join(user, context, items, caption).values()} == {3}
    assert {tensor.shape[0] for tensor in encoder.join(user, context, items, caption[:1]).values()} == {3}
    with pytest.raises(FeatureValueError, match=r"rows: is \[2, 1, 3, 3\]; expected equal numbers of rows, or 1"):
        encoder.join(encoder.side("user", {}, 2), context, items, caption)
    with pytest.raises(FeatureValueError, match=r"user.dense: is 'float32 \[1, 7\]'; expected float32 \[rows, 1\]"):
        encoder.join(Side(np.ones((1, 7), np.float32), user.categorical), context, items, caption)
    with pytest.raises(FeatureValueError, match=r"caption: is 'int64 \[3, 2\]'; expected int64 \[rows, 11\]"):
        encoder.join(user, context, items, caption[:, :2])
    with pytest.raises(FeatureValueError, match="caption: is None; expected a caption tensor"):
        encoder.join(user, context, items, None)


def test_negative_zero_gives_the_bytes_of_zero() -> None:
    for default in (0.0, -0.0):
        contract = Contract(name="c", version=1, dense=[DenseFeature(name="x", source="user", default=default)])
        rows = FeatureEncoder(contract).side("user", {"x": [0.0, -0.0, None, -1e-60]}, 4)
        assert rows.dense.tobytes() == bytes(16)


def test_a_negative_number_of_rows_is_refused(contract: Contract) -> None:
    with pytest.raises(FeatureValueError, match="rows: is -1; expected a number of rows, 0 or more"):
        FeatureEncoder(contract).side("user", {}, -1)


def test_no_candidates_give_empty_tensors(contract: Contract) -> None:
    encoder = FeatureEncoder(contract)
    one = encoder.side("user", {}, 1), encoder.side("context", {}, 1)
    tensors = encoder.join(*one, encoder.side("item", {}, 0), encoder.caption([]))
    assert [tensor.shape for tensor in tensors.values()] == [(0, 3), (0, 4), (0, 11)]
    assert bytes_of(tensors) == bytes_of(encode(contract, {"age": []}, []))


def test_a_contract_without_caption_has_no_caption_tensor_and_takes_no_tokens(contract: Contract) -> None:
    bare = contract.without_caption()
    assert list(encode(bare, {"age": [3]}, None)) == ["dense", "categorical"]
    with pytest.raises(FeatureValueError, match="no tokens: the contract has no caption"):
        encode(bare, {"age": [3]}, [None])
    with pytest.raises(FeatureValueError, match="caption: is None; expected tokens"):
        encode(contract, {"age": [3]}, None)
