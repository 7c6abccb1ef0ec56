"""Arms in real processes: users stay where they are, answers say so, exposures are written, assignments change live."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from models.experiments.assignment import STABLE, Assignment
from models.experiments.events import Exposure, pseudonym
from models.items import ItemRow

KEY = "a key of the site, long enough"
PATIENCE = ("--predictor_request_timeout_seconds", "1.5", "--candidate_timeout_seconds", "0.9")
ITEMS = [str(i) for i in range(1, 13)]
USERS = [f"user {i}" for i in range(96)]
ARM_KEY = "a key that names arms"
BY_NAME = {"x-sightline-arm": "candidate", "x-sightline-arm-key": ARM_KEY}


@dataclass
class World:
    """A transformer, its assignments, its exposures; `start` runs another one beside it on the same file."""

    book: Any
    transformer: Any
    folder: Path
    start: Callable[..., AbstractContextManager[Any]]
    arm: Any
    narrow_arm: Any
    revision: int = 0
    metric: Callable[..., float] = field(repr=False, default=lambda *_: 0.0)

    def publish(self, until: Callable[..., None], *arms: Any, **more: Any) -> Assignment:
        """Publish an assignment with the next revision and wait until it is in effect."""
        self.revision += 1
        assignment: Assignment = self.book.assignment(*(arms or (self.arm,)), revision=self.revision, **more)
        self.book.write(assignment)
        until(lambda: self.in_effect(assignment) == self.revision)
        return assignment

    def in_effect(self, assignment: Assignment) -> float:
        labels = f'experiment="{assignment.experiment}",model="ranker"'
        return self.metric(self.transformer, f"sightline_assignment_revision{{{labels}}}")

    def withdraw(self, until: Callable[..., None]) -> None:
        self.book.write()
        for experiment in ("captions", "next"):
            gauge = f'sightline_assignment_revision{{experiment="{experiment}",model="ranker"}}'
            until(lambda gauge=gauge: self.metric(self.transformer, gauge) == 0)

    def counted(self, name: str, arm: str, **more: str) -> float:
        labels = {"arm": arm, "experiment": "captions", "model": "ranker", **more}
        text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        return self.metric(self.transformer, f"sightline_{name}{{{text}}}")

    def exposures(self) -> list[Exposure]:
        lines = [line for path in self.folder.glob("exposures-*") for line in path.read_bytes().splitlines()]
        return [Exposure.model_validate_json(line) for line in lines]


def ask(transformer: Any, *users: str, headers: dict[str, str] | None = None, **more: Any) -> list[dict[str, Any]]:
    """Predictions for the users, sixteen a call."""
    found: list[dict[str, Any]] = []
    with httpx.Client(timeout=20) as client:
        for at in range(0, len(users), 16):
            candidates = [{"item_id": item} for item in ITEMS]
            body = {"instances": [{"user_id": user, "candidates": candidates, **more} for user in users[at : at + 16]]}
            answer = client.post(f"{transformer.url}/v1/models/ranker:predict", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            found += answer.json()["predictions"]
    return found


def arms_of(transformer: Any) -> list[str | None]:
    return [prediction.get("arm") for prediction in ask(transformer, *USERS)]


def expected(assignment: Assignment) -> list[str | None]:
    places = [assignment.place(user) for user in USERS]
    return [place.arm if place.enrolled else None for place in places]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    stack: Any,
    triton: Any,
    with_captions: Any,
    ids_only: Any,
    narrow: Any,
    rows: list[ItemRow],
    book_at: Callable[[Path], Any],
    metric: Callable[..., float],
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("arms")
    store = stack.fill(folder / "store", rows)
    (folder / "mounted").mkdir()
    book = book_at(folder / "mounted" / "book.json")
    exposures = folder / "exposures"
    more = ("--assignments", str(book.path), "--assignment_seconds", "0.1", *PATIENCE)
    telling = (*more, "--tell_arm", "true")
    arm = book.arm(ids_only, "ranker-ids", triton.grpc)
    narrow_arm = book.arm(narrow, "ranker-narrow", triton.grpc, "narrow")

    @contextmanager
    def start(*, tells: bool = True) -> Iterator[Any]:
        place, arguments = tmp_path_factory.mktemp("beside"), telling if tells else more
        with stack.running_transformer(place, with_captions.bundle.path, store, triton.grpc, *arguments) as running:
            yield running

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_PSEUDONYM_KEY", KEY)
        patch.setenv("SIGHTLINE_ARM_KEY", ARM_KEY)
        recording = ("--exposures", f"file://{exposures}")
        made = stack.running_transformer(folder, with_captions.bundle.path, store, triton.grpc, *telling, *recording)
        with made as running:
            yield World(book, running, exposures, start, arm, narrow_arm, metric=metric)


def test_without_an_experiment_answers_have_no_arm(world: World, until: Callable[..., None]) -> None:
    world.withdraw(until)
    (prediction,) = ask(world.transformer, "196")
    assert list(prediction) == ["user_id", "user_known", "model", "contract_digest", "degraded", "ranking"]
    assert world.exposures() == []


def test_users_are_where_the_assignment_places_them_in_every_process_and_after_a_restart(
    world: World, until: Callable[..., None]
) -> None:
    assignment = world.publish(until, share=2500)
    wanted = expected(assignment)
    assert {None, STABLE, "candidate"} == set(wanted)
    assert arms_of(world.transformer) == wanted
    with world.start() as other:
        assert arms_of(other) == wanted, "from the first answer on: not ready before its arms are"


def test_a_growing_share_moves_nobody(world: World, until: Callable[..., None]) -> None:
    world.publish(until, share=1000)
    before = arms_of(world.transformer)
    for share in (2500, 5000):
        assignment = world.publish(until, share=share)
        after = arms_of(world.transformer)
        assert after == expected(assignment)
        assert all(new == old for old, new in zip(before, after, strict=True) if old is not None)
        assert sum(arm is not None for arm in after) > sum(arm is not None for arm in before)
        before = after
    assert None not in before


def test_an_arm_answers_with_its_own_scores_and_names_its_contract(
    world: World, until: Callable[..., None], ids_only: Any, with_captions: Any
) -> None:
    assignment = world.publish(until, share=5000)
    digests = {"candidate": ids_only.contract.digest, STABLE: with_captions.bundle.contract.digest}
    for user in USERS[:12]:
        (own,) = ask(world.transformer, user)
        assert own["arm"] == assignment.place(user).arm
        assert own["experiment"] == "captions"
        assert own["contract_digest"] == digests[own["arm"]]
        for arm in digests:
            (named,) = ask(world.transformer, user, headers={**BY_NAME, "x-sightline-arm": arm})
            assert named["contract_digest"] == digests[arm]
            same = [entry["score"] for entry in named["ranking"]] == [entry["score"] for entry in own["ranking"]]
            assert same is (arm == own["arm"])


def test_every_ranking_of_an_enrolled_user_is_exposed_once_under_a_pseudonym(
    world: World, until: Callable[..., None], ids_only: Any, with_captions: Any
) -> None:
    assignment = world.publish(until, share=2500)
    counted = {arm: world.counted("arm_requests_total", arm, outcome="ok") for arm in (STABLE, "candidate")}
    predictions = {prediction["user_id"]: prediction for prediction in ask(world.transformer, *USERS)}
    ask(world.transformer, *USERS[:16], headers=BY_NAME)
    enrolled = {pseudonym(KEY.encode(), user): user for user in USERS if assignment.place(user).enrolled}

    def recorded() -> list[Exposure]:  # those of earlier tests may still be on their way
        return [exposure for exposure in world.exposures() if exposure.revision == assignment.revision]

    until(lambda: len(recorded()) >= len(enrolled))
    new = recorded()
    assert sorted(exposure.user for exposure in new) == sorted(enrolled)
    bundles = {"candidate": ids_only, STABLE: with_captions.bundle}
    for exposure in new:
        prediction = predictions[enrolled[exposure.user]]
        assert exposure.arm == exposure.served == prediction["arm"]
        assert (exposure.experiment, exposure.uid, exposure.revision) == ("captions", "uid-1", world.revision)
        assert exposure.bundle_id == bundles[exposure.arm].id
        assert exposure.contract_digest == prediction["contract_digest"]
        assert list(exposure.items) == [entry["item_id"] for entry in prediction["ranking"]]
        assert list(exposure.scores) == pytest.approx([entry["score"] for entry in prediction["ranking"]])
        known = sum(entry["caption"] != "missing" for entry in prediction["ranking"])
        assert (exposure.candidates, exposure.captioned) == (len(ITEMS), known)
        assert 0 < exposure.seconds < 5
    for arm, number in counted.items():
        grown = world.counted("arm_requests_total", arm, outcome="ok") - number
        assert grown == sum(exposure.arm == arm for exposure in new), "calls that name an arm do not count"
    assert KEY not in world.transformer.log.read_text()


def test_several_candidates_divide_the_users_among_them(
    world: World, until: Callable[..., None], ids_only: Any, narrow: Any
) -> None:
    assignment = world.publish(until, world.arm, world.narrow_arm, share=3333)
    predictions = ask(world.transformer, *USERS)
    assert [prediction.get("arm") for prediction in predictions] == expected(assignment)
    digests = {prediction["arm"]: prediction["contract_digest"] for prediction in predictions if "arm" in prediction}
    assert digests["candidate"] == ids_only.contract.digest
    assert digests["narrow"] == narrow.contract.digest


def test_a_candidate_ignores_features_that_its_contract_lacks_and_stable_answers_what_it_refuses(
    world: World, until: Callable[..., None], with_captions: Any, narrow: Any
) -> None:
    assignment = world.publish(until, world.narrow_arm, share=5000)
    user = next(user for user in USERS if assignment.place(user).arm == "narrow")
    (plain,) = ask(world.transformer, user)
    (with_age,) = ask(world.transformer, user, user={"age": 20, "gender": "F"})
    assert with_age["ranking"] == plain["ranking"]
    assert with_age["contract_digest"] == narrow.contract.digest
    failures = world.counted("arm_failures_total", "narrow", reason="request_refused")
    (with_hour,) = ask(world.transformer, user, context={"hour": 20})
    assert with_hour["contract_digest"] == with_captions.bundle.contract.digest
    assert (with_hour["arm"], with_hour["degraded"]) == ("narrow", ["candidate_unavailable"])
    assert world.counted("arm_failures_total", "narrow", reason="request_refused") == failures + 1
    body = {"instances": [{"user_id": user, "candidates": [{"item_id": "1"}], "context": {"hour": "night"}}]}
    refused = httpx.post(f"{world.transformer.url}/v1/models/ranker:predict", json=body)
    assert refused.status_code == 400, "requests are read by the names and kinds of stable's contract"
    assert world.counted("arm_failures_total", "narrow", reason="request_refused") == failures + 1


def infer(client: Any, user: str, headers: dict[str, str] | None = None) -> Any:
    inputs = []
    for name, values in (("user_id", [user]), ("item_id", ITEMS)):
        inputs.append(triton_grpc.InferInput(name, [len(values)], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([value.encode() for value in values], np.object_))
    return client.infer("ranker", inputs, headers=headers).get_response().parameters


def test_who_has_no_key_may_not_name_an_arm_and_is_told_which_right_is_missing(
    world: World, until: Callable[..., None]
) -> None:
    world.publish(until, share=0)
    url = f"{world.transformer.url}/v1/models/ranker:predict"
    body = {"instances": [{"user_id": USERS[0], "candidates": [{"item_id": item} for item in ITEMS]}]}
    for headers, why in (
        ({"x-sightline-arm": "candidate"}, "header x-sightline-arm-key is missing"),
        ({**BY_NAME, "x-sightline-arm-key": "another key, guessed"}, "header x-sightline-arm-key has another key"),
    ):
        refused = httpx.post(url, json=body, headers=headers)
        assert refused.status_code == 403
        assert f"names an arm, which is for those with the right to: {why}" in refused.json()["error"]
        assert "SIGHTLINE_ARM_KEY of the transformer" in refused.json()["error"]
        assert ARM_KEY not in refused.text
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{world.transformer.grpc_port}") as client:
            with pytest.raises(InferenceServerException, match=why) as raised:
                infer(client, USERS[0], headers)
            assert raised.value.status() == "StatusCode.PERMISSION_DENIED"


def test_answers_tell_no_arm_unless_a_setting_says_so(
    world: World, until: Callable[..., None], with_captions: Any
) -> None:
    """By no field: nor the contract, which is the arm's, nor that a candidate was away; the order is the arm's."""
    world.withdraw(until)
    with world.start(tells=False) as quiet:
        (before,) = ask(quiet, USERS[0])
        assert before["contract_digest"] == with_captions.bundle.contract.digest
        away = world.arm.model_copy(update={"predictor_host": "127.0.0.1:9"})
        for arm in (world.arm, away):
            assignment = world.publish(until, arm, share=2500)
            gauge = f'sightline_assignment_revision{{experiment="{assignment.experiment}",model="ranker"}}'
            until(lambda gauge=gauge: world.metric(quiet, gauge) == world.revision)
            found = ask(quiet, *USERS)
            told = {(tuple(prediction), tuple(prediction["degraded"])) for prediction in found}
            assert told == {(("user_id", "user_known", "model", "degraded", "ranking"), ())}
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{quiet.grpc_port}") as client:
            assert {tuple(sorted(infer(client, user))) for user in USERS[:20]} == {("degraded", "user_known")}
        own = {user: ask(quiet, user)[0]["ranking"] for user in USERS[:20]}
        named = {user: ask(quiet, user, headers={**BY_NAME, "x-sightline-arm": "stable"})[0] for user in USERS[:20]}
        assert {each["arm"] for each in named.values()} == {"stable"}
        assert own == {user: each["ranking"] for user, each in named.items()}, "the candidate is away"


def test_a_call_may_name_its_arm_over_rest_and_grpc(world: World, until: Callable[..., None], ids_only: Any) -> None:
    assignment = world.publish(until, share=0)
    user = USERS[0]
    tensors = [
        {"name": "user_id", "datatype": "BYTES", "shape": [1], "data": [user]},
        {"name": "item_id", "datatype": "BYTES", "shape": [len(ITEMS)], "data": ITEMS},
    ]
    url = f"{world.transformer.url}/v2/models/ranker/infer"
    plain, named = (httpx.post(url, json={"inputs": tensors}, headers=h).json() for h in ({}, BY_NAME))
    assert list(plain["parameters"]) == ["contract_digest", "user_known", "degraded"]
    assert named["parameters"]["arm"] == "candidate"
    assert named["parameters"]["experiment"] == assignment.experiment
    assert named["parameters"]["contract_digest"] == ids_only.contract.digest
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{world.transformer.grpc_port}") as client:
        assert "arm" not in infer(client, user)
        parameters = infer(client, user, BY_NAME)
        assert parameters["arm"].string_param == "candidate"
        assert parameters["contract_digest"].string_param == ids_only.contract.digest
        with pytest.raises(InferenceServerException, match="expected one of 'stable', 'candidate'") as raised:
            infer(client, user, {**BY_NAME, "x-sightline-arm": "other"})
        assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    refused = httpx.post(url, json={"inputs": tensors}, headers={**BY_NAME, "x-sightline-arm": "other"})
    assert refused.status_code == 400
    assert "header x-sightline-arm: is 'other'; expected one of 'stable', 'candidate'" in refused.json()["error"]


@dataclass
class Load:
    """Clients that ask all the time, until `stop`; every answer that is not a ranking is kept."""

    transformer: Any
    stopped: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def run(self, number: int) -> None:
        body = {"user_id": "", "candidates": [{"item_id": item} for item in ITEMS]}
        with httpx.Client(base_url=self.transformer.url, timeout=20) as client:
            for turn in range(100_000):
                if self.stopped.is_set():
                    return
                instance = {**body, "user_id": USERS[(turn * 7 + number) % len(USERS)]}
                answer = client.post("/v1/models/ranker:predict", json={"instances": [instance]})
                if answer.status_code != 200 or answer.json()["predictions"][0]["degraded"]:
                    self.failures.append(answer.text)
                self.answers.append(answer.status_code)


@contextmanager
def loaded(transformer: Any) -> Iterator[Load]:
    load = Load(transformer)
    threads = [threading.Thread(target=load.run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join()


def test_assignments_change_under_load_without_a_lost_or_degraded_answer(
    world: World, until: Callable[..., None]
) -> None:
    world.withdraw(until)
    with loaded(world.transformer) as load:
        world.publish(until, share=1000)
        world.publish(until, share=5000)
        world.publish(until, world.arm, world.narrow_arm, share=3000)  # another arm comes
        world.publish(until, world.narrow_arm, share=5000)  # an arm goes
        world.publish(until, share=2500, everyone="candidate")
        world.publish(until, share=2500, uid="uid-2", experiment="next")
        time.sleep(2.8)  # until the arms that went are closed
        world.withdraw(until)
    assert len(load.answers) > 100
    assert load.failures == []


def test_everyone_gets_the_arm_that_replaces_stable_and_is_no_exposure(
    world: World, until: Callable[..., None], ids_only: Any
) -> None:
    world.publish(until, share=1000, everyone="candidate")
    requests = world.counted("arm_requests_total", "candidate", outcome="ok")
    predictions = ask(world.transformer, *USERS)
    assert {prediction["contract_digest"] for prediction in predictions} == {ids_only.contract.digest}
    assert not any("arm" in prediction for prediction in predictions)
    assert world.counted("arm_requests_total", "candidate", outcome="ok") == requests
    assert world.transformer.ready()


def test_what_is_malformed_or_older_is_told_once_and_changes_nothing(world: World, until: Callable[..., None]) -> None:
    assignment = world.publish(until, share=2500)
    wanted = expected(assignment)
    document = json.loads(world.book.path.read_text())
    document["assignments"][0]["share"] = 9000
    older = world.book.assignment(world.arm, revision=assignment.revision - 1, share=10)
    for text, says in (
        ("{", "the assignment cannot be used: document: Invalid JSON"),
        (json.dumps(document), "share is 9000; expected at most 5000"),
        (json.dumps({"format_version": 1, "assignments": [older.model_dump()]}), "expected a higher one"),
    ):
        failures = world.metric(world.transformer, "sightline_assignment_failures_total")
        world.book.write_text(text)

        def grown(above: float = failures + 2) -> bool:
            return world.metric(world.transformer, "sightline_assignment_failures_total") >= above

        until(grown)
        log = world.transformer.log.read_text()
        assert log.count(says) == 1
        assert arms_of(world.transformer) == wanted
    world.book.write(assignment)
    until(lambda: "the assignments can be used again" in world.transformer.log.read_text())
    world.book.path.unlink()
    until(lambda: world.in_effect(assignment) == 0)
    assert set(arms_of(world.transformer)) == {None}


def test_a_mounted_folder_that_goes_away_keeps_the_assignment(world: World, until: Callable[..., None]) -> None:
    assignment = world.publish(until, share=2500)
    folder = world.book.path.parent
    aside = folder.with_name("aside")
    kept = world.book.path.read_text()
    age = "sightline_assignment_age_seconds"
    folder.rename(aside)
    try:
        until(lambda: world.metric(world.transformer, age) > 0.6)
        assert world.in_effect(assignment) == assignment.revision
    finally:
        aside.rename(folder)
    assert world.book.path.read_text() == kept
    until(lambda: world.metric(world.transformer, age) < 0.5)


def test_the_process_is_never_broken_by_any_of_this(world: World) -> None:
    assert world.transformer.process.poll() is None
    log = world.transformer.log.read_text()
    assert "Traceback" not in log
    assert "ended by an error" not in log


def test_what_waits_is_written_before_the_process_ends(world: World, until: Callable[..., None]) -> None:
    assignment = world.publish(until, share=5000)
    before = len(world.exposures())
    for _ in range(3):
        ask(world.transformer, *USERS[:16])
    world.transformer.process.terminate()
    assert world.transformer.process.wait(15) == 0
    assert len(world.exposures()) == before + 3 * sum(assignment.place(user).enrolled for user in USERS[:16])
    assert not list(world.folder.glob("*.part"))
