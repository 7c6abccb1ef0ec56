"""Parsing of V1 requests: everything wrong is found, nothing else is refused, nothing else is raised."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import Contract
from serving.transformer.errors import InvalidRequestError
from serving.transformer.feature_names import FeatureNames
from serving.transformer.request import Limits, RankRequest, RequestParser

LIMITS = Limits(candidates=5, instances=2, id_bytes=8, caption_bytes=20, text_bytes=10)


@pytest.fixture(scope="module")
def parser(contract: Contract) -> RequestParser:
    return RequestParser(FeatureNames(contract), LIMITS)


def one(**changes: Any) -> dict[str, Any]:
    return {"instances": [{"user_id": "u", "candidates": [{"item_id": "a"}, {"item_id": "b"}], **changes}]}


def faults(parser: RequestParser, document: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as raised:
        parser.v1(document)
    return {fault.path: f"{fault.value} | {fault.expected} | {fault.fix}" for fault in raised.value.faults}


def test_a_full_request_is_read(parser: RequestParser) -> None:
    document = one(
        user={"gender": "F", "age": 30},
        context={"hour": 3, "weekday": None},
        candidates=[{"item_id": "a"}, {"item_id": "ж", "caption": "a car", "features": {"popularity": 2}}],
    )
    assert parser.v1(document) == [
        RankRequest(
            "u",
            ("a", "ж"),
            {"gender": "F", "age": 30},
            {"hour": 3, "weekday": None},
            {1: "a car"},
            {1: {"popularity": 2}},
        )
    ]


def test_all_faults_are_reported_at_once(parser: RequestParser) -> None:
    document = one(user_id=7, usr={}, context={"hour": True}, candidates=[{"item_id": ""}, {"id": "b"}, 3])
    assert list(faults(parser, document)) == [
        "instances[0].usr",
        "instances[0].user_id",
        "instances[0].context.hour",
        "instances[0].candidates[0].item_id",
        "instances[0].candidates[1].id",
        "instances[0].candidates[1].item_id",
        "instances[0].candidates[2]",
    ]


@pytest.mark.parametrize(
    ("document", "path", "says"),
    [
        ([], "body", "a JSON object"),
        ({}, "instances", "missing"),
        ({"instances": []}, "instances", "at least one"),
        ({"instances": [{}] * 3}, "instances", "at most 2 requests"),
        (one(user_id=196), "instances[0].user_id", "write it as a string: '196'"),
        (one(user_id=True), "instances[0].user_id", "give the id as a string"),
        (one(user_id=None), "instances[0].user_id", "a string"),
        (one(user_id="x" * 9), "instances[0].user_id", "at most 8 bytes of UTF-8 (it has 9)"),
        (one(user_id="жжжжж"), "instances[0].user_id", "(it has 10)"),
        (one(user_id="\ud800"), "instances[0].user_id", "lone surrogates"),
        (one(candidates=None), "instances[0].candidates", "an array"),
        (one(candidates=[]), "instances[0].candidates", "at least one candidate"),
        (one(candidates=[{"item_id": str(i)} for i in range(6)]), "instances[0].candidates", "at most 5 candidates"),
        (one(candidates=[{"item_id": "a"}] * 2), "instances[0].candidates[1]", "'a' | an item that is not listed yet"),
        (one(candidates=[{"item_id": "a", "caption": 3}]), "instances[0].candidates[0].caption", "a string"),
        (one(candidates=[{"item_id": "a", "caption": "x" * 21}]), "instances[0].candidates[0].caption", "(it has 21)"),
        (one(context={"hour": 2.5}), "instances[0].context.hour", "an integer of 64 bits"),
        (one(context={"hour": 2e30}), "instances[0].context.hour", "an integer of 64 bits"),
        (one(context={"hour": "2"}), "instances[0].context.hour", "write the value as a JSON number"),
        (one(user={"age": False}), "instances[0].user.age", "a number or null"),
        (one(user={"age": float("inf")}), "instances[0].user.age", "a finite number"),
        (one(user={"age": 10**400}), "instances[0].user.age", "smaller number"),
        (one(user={"gender": 1}), "instances[0].user.gender", "a string or null"),
        (one(user={"gender": "x" * 11}), "instances[0].user.gender", "(it has 11)"),
        (one(user={"gendr": "F"}), "instances[0].user.gendr", "did you mean 'gender'?"),
        (one(user={"user_id": "u"}), "instances[0].user.user_id", "an unknown field"),
        (one(user=[]), "instances[0].user", "an object of features"),
        (one(contxt={}), "instances[0].contxt", "did you mean 'context'?"),
    ],
)
def test_a_fault_is_named_with_what_to_do(parser: RequestParser, document: Any, path: str, says: str) -> None:
    found = faults(parser, document)
    assert path in found
    assert says in found[path]


def test_an_answer_never_echoes_a_long_value(parser: RequestParser) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        parser.v1(one(user_id="x" * 100_000, user={"y" * 100_000: 1}, context={"hour": [1] * 1000}))
    assert len(raised.value.message) < 2000


def test_many_faults_are_cut(parser: RequestParser, contract: Contract) -> None:
    wide = RequestParser(FeatureNames(contract), Limits(candidates=1000))
    with pytest.raises(InvalidRequestError, match="and 180 more faults") as raised:
        wide.v1(one(candidates=[{"item_id": 1}] * 1000))
    assert len(raised.value.body()["faults"]) == 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["user_id", "item_id", "candidates", "user", "context", "caption", "features", "age", "hour"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(instance=json_values, wrap=st.booleans())
def test_any_json_is_read_or_refused_and_nothing_else(parser: RequestParser, instance: Any, wrap: bool) -> None:
    try:
        requests = parser.v1({"instances": [instance]} if wrap else instance)
    except InvalidRequestError as error:
        orjson.dumps(error.body())
    else:
        for request in requests:
            assert request.user_id
            assert len(set(request.item_ids)) == len(request.item_ids) > 0
