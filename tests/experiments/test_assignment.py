"""The placing of users: sticky, monotone, proportional; its buckets fixed for ever; documents refused with reasons."""

import contextlib
import json
import math
import subprocess
import sys
from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.experiments.assignment
from models.experiments.assignment import BUCKETS, STABLE, Arm, Assignment, AssignmentBook, AssignmentError, bucket
from models.experiments.events import pseudonym

unhurried = settings(deadline=None)
DIGEST = f"sha256:{'a' * 64}"
USERS = [f"user-{i}" for i in range(20_000)]


def arm(name: str = "candidate", **more: Any) -> Arm:
    fields = {"predictor_host": "triton:9000", "model": "ranker", "bundle": "s3://models/ranker/7"}
    return Arm(**{"name": name, **fields, "bundle_id": DIGEST, "contract_digest": DIGEST, **more})


def assignment(arms: int = 1, **more: Any) -> Assignment:
    fields = {"experiment": "captions", "uid": "uid-1", "revision": 1, "model": "ranker", "salt": "eight bytes"}
    named = tuple(arm(f"arm-{i}") for i in range(arms))
    return Assignment(**{**fields, "arms": named, "share": 0, "shadow": 0, **more})


@st.composite
def divided(draw: st.DrawFn) -> Assignment:
    arms = draw(st.integers(1, 9))
    share = draw(st.integers(0, BUCKETS // (arms + 1)))
    shadow = draw(st.integers(0, BUCKETS - share * (arms + 1)))
    return assignment(arms, share=share, shadow=shadow, salt=draw(st.text(min_size=8, max_size=20)))


IDS = st.text(min_size=1, max_size=30)


@unhurried
@given(divided(), IDS)
def test_a_user_has_one_place_whatever_was_asked_before(made: Assignment, user: str) -> None:
    place = made.place(user)
    assert AssignmentBook.from_json(AssignmentBook(assignments=(made,)).to_json()).assignments[0].place(user) == place
    assert place.arm in {STABLE, *(each.name for each in made.arms)}
    assert place.enrolled or place.arm == STABLE
    assert place.shadow in (None, made.arms[0].name)
    assert not (place.enrolled and place.shadow)


@unhurried
@given(divided(), IDS, st.data())
def test_a_growing_share_moves_no_enrolled_user(made: Assignment, user: str, data: st.DataObject) -> None:
    larger = data.draw(st.integers(made.share, made.lane))
    before, after = made.place(user), made.model_copy(update={"share": larger, "shadow": 0}).place(user)
    if before.enrolled:
        assert after == before
    elif not after.enrolled:
        assert after.arm == STABLE


@settings(max_examples=20, deadline=None)
@given(divided())
def test_every_arm_and_the_shadow_have_exactly_their_share_of_the_buckets(made: Assignment) -> None:
    with patch.object(models.experiments.assignment, "bucket", lambda _, user: int(user)):
        places = [made.place(str(number)) for number in range(BUCKETS)]
    enrolled = Counter(place.arm for place in places if place.enrolled)
    assert enrolled == Counter(dict.fromkeys((STABLE, *(each.name for each in made.arms)), made.share))
    assert sum(place.shadow is not None for place in places) == made.shadow


def test_users_are_spread_in_proportion_and_the_two_arms_evenly() -> None:
    made = assignment(1, share=1000, shadow=500)
    found = Counter((p.arm if p.enrolled else p.shadow and "shadow") for p in map(made.place, USERS))
    for name, share in (("arm-0", 0.1), (STABLE, 0.1), ("shadow", 0.05)):
        spread = math.sqrt(len(USERS) * share * (1 - share))
        assert abs(found[name] - len(USERS) * share) < 4 * spread, name


def test_salts_place_users_independently() -> None:
    one, other = (assignment(1, share=5000, salt=salt) for salt in ("salt number one", "salt number two"))
    both = sum(one.place(user).arm == other.place(user).arm for user in USERS)
    assert abs(both - len(USERS) / 2) < 4 * math.sqrt(len(USERS) / 4)


@pytest.mark.parametrize(
    ("salt", "user", "number"),
    [
        ("captions-1", "196", 6817),
        ("captions-1", "user 1", 9587),
        ("captions-2", "196", 4457),
        ("sälze sind", "юзер", 9132),
    ],
)
def test_buckets_are_fixed_for_ever(salt: str, user: str, number: int) -> None:
    assert bucket(salt, user) == number


def test_another_process_gives_the_same_places() -> None:
    made = assignment(2, share=3000, shadow=500)
    program = (
        "import sys, json; from models.experiments.assignment import Assignment\n"
        "made = Assignment.model_validate_json(sys.argv[1])\n"
        "print(json.dumps([made.place(f'user-{i}').arm for i in range(500)]))"
    )
    command = [sys.executable, "-c", program, made.model_dump_json()]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(answer.stdout) == [made.place(user).arm for user in USERS[:500]]


def test_salt_and_user_do_not_run_into_each_other() -> None:
    assert bucket("saltsalt1", "2") != bucket("saltsalt", "12")


def test_everyone_gets_the_arm_and_counts_for_nothing() -> None:
    made = assignment(2, share=1000, shadow=1000, everyone="arm-1")
    assert {(p.arm, p.enrolled, p.shadow) for p in map(made.place, USERS[:500])} == {("arm-1", False, None)}


@unhurried
@given(divided())
def test_the_shadow_is_outside_all_arms_and_grows_in_its_own_order(made: Assignment) -> None:
    if made.shadow == 0:
        return
    smaller = made.model_copy(update={"shadow": made.shadow // 2})
    shadowed = {user for user in USERS[:300] if smaller.place(user).shadow}
    assert shadowed <= {user for user in USERS[:300] if made.place(user).shadow}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"share": 5001}, "share is 5001; expected at most 5000: 2 arms share all users"),
        ({"share": 4000, "shadow": 2001}, "shadow is 2001; expected at most 2000"),
        ({"everyone": "other"}, r"everyone is 'other'; expected null or one of \['arm-0'\]"),
        ({"everyone": STABLE}, "everyone is 'stable'"),
        ({"salt": "short"}, "salt: String should have at least 8 characters"),
        ({"revision": 0}, "revision: Input should be greater than or equal to 1"),
        ({"arms": []}, "arms: Tuple should have at least 1 item"),
        ({"arms": [arm("twice").model_dump()] * 2}, "expected every name once"),
        ({"arms": [{**arm().model_dump(), "name": STABLE}]}, "the name of what serves already"),
        ({"arms": [{**arm().model_dump(), "bundle_id": "7"}]}, "bundle_id: String should match pattern"),
        ({"arms": [{**arm().model_dump(), "weight": 1}]}, "weight: Extra inputs are not permitted"),
        ({"experiment": "Not A Name"}, "experiment: String should match pattern"),
    ],
)
def test_a_document_that_cannot_be_used_says_why(more: dict[str, Any], says: str) -> None:
    document = {"assignments": [{**assignment().model_dump(), **more}]}
    with pytest.raises(AssignmentError, match=says):
        AssignmentBook.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["{", "[]", '{"format_version": 2}', "null", b"\xff\xfe", '{"assignments": {}}'])
def test_what_is_no_document_is_refused(text: str | bytes) -> None:
    with pytest.raises(AssignmentError, match="the assignment cannot be used"):
        AssignmentBook.from_json(text)


@unhurried
@given(st.binary(max_size=60))
def test_any_bytes_are_a_book_or_refused_and_nothing_else(text: bytes) -> None:
    with contextlib.suppress(AssignmentError):
        AssignmentBook.from_json(text)


def test_nothing_is_an_empty_book() -> None:
    assert AssignmentBook.from_json(b" \n") == AssignmentBook()


def test_a_book_has_one_experiment_per_model() -> None:
    one, two = assignment(model="a"), assignment(model="b", uid="uid-2")
    book = AssignmentBook().put(two).put(one)
    assert [each.model for each in book.assignments] == ["a", "b"]
    newer = one.model_copy(update={"revision": 2})
    assert book.put(newer).of("a") == newer
    assert book.drop("uid-2").of("b") is None
    assert book.drop("unknown") == book
    with pytest.raises(AssignmentError, match="model 'a' has two experiments"):
        AssignmentBook.from_json(json.dumps({"assignments": [one.model_dump(), {**one.model_dump(), "uid": "x"}]}))


def test_a_pseudonym_is_fixed_and_needs_the_key() -> None:
    assert pseudonym(b"a key of the site", "196") == "0259178f7827c040bc16d97c223762b7", "as openssl gives it"
    assert pseudonym(b"another key of it", "196") != pseudonym(b"a key of the site", "196")
