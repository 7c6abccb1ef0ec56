"""`train`, `lift` and `publish`: from their inputs to the store, and again without doing anything twice."""

import json
import re
import shutil

import pytest

from models.bundle import read_bundle
from models.store.errors import StoreUnreachableError
from models.store.fetch import verify
from models.store.store import ModelStore
from training import job_ranks, job_train, lift, run_folder


@pytest.fixture
def folder(published):
    """Of all tests here: they are one story, of a job that is started again and again."""
    return published.folder


@pytest.fixture
def command(published):
    return published.command


def entries(store):
    return [(each.name, each.number, each.entry is not None) for each in ModelStore.at(str(store)).listing()]


def untrainable(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(job_train, "train_all", refuse)


def test_both_bundles_are_published_and_told(published, folder):
    told = published.told
    uris = {name: str(folder / "store" / name / "1") for name in ("shop", "shop-ids")}
    assert (published.code, told["job"], told["outcome"], told["bundles"]) == (0, "train", "done", uris)
    assert told["contract_digest"] == verify(uris["shop"]).contract_digest
    measured = read_bundle(folder / "store/shop/1/bundle").metrics["lift"]["splits"][0]["lift"]
    keys = {"delta": "difference", "low": "low", "high": "high", "verdict": "verdict"}
    assert told["lift"] == {name: measured[key] for name, key in keys.items()}
    assert told["metrics"]["within_user"]["auc_with"] == measured["auc_with"]
    printed = published.printed
    assert "27 with a caption" in printed
    assert "2.00 of 2 training runs done" in printed
    assert "within_user: ranker with captions: AUC 0." in printed
    assert printed.splitlines()[-1].startswith("train done: ")


def test_started_again_it_trains_and_publishes_nothing_twice(run, command, folder, last_words, monkeypatch):
    untrainable(monkeypatch)
    assert run(*command) == 0
    assert last_words()["bundles"]["shop"] == str(folder / "store/shop/1")
    assert entries(folder / "store") == [("shop", 1, True), ("shop-ids", 1, True)]


def test_killed_between_two_publishes_it_publishes_the_other_one(run, command, folder, monkeypatch):
    untrainable(monkeypatch)
    shutil.rmtree(folder / "store/shop-ids")
    assert run(*command) == 0
    assert entries(folder / "store") == [("shop", 1, True), ("shop-ids", 1, True)]


def test_another_store_gets_the_same_bundles(run, command, folder, monkeypatch):
    untrainable(monkeypatch)
    assert run(*command, "--out-store", folder / "second") == 0
    one, other = (read_bundle(folder / store / "shop/1/bundle").id for store in ("store", "second"))
    assert one == other


def test_lift_takes_what_train_has_measured_and_writes_it_where_it_is_told(
    run, inputs, folder, last_words, monkeypatch
):
    untrainable(monkeypatch)
    assert run("lift", *inputs, "--work", folder / "work", "--out", folder / "report") == 0
    report = json.loads((folder / "report/lift.json").read_bytes())
    assert report == read_bundle(folder / "store/shop/1/bundle").metrics["lift"]
    told = last_words()
    assert (told["job"], told["bundles"], told["contract_digest"]) == ("lift", {}, None)
    assert told["lift"]["delta"] == report["splits"][0]["lift"]["difference"]


def test_checkpoints_of_a_published_run_are_gone(folder):
    assert list((folder / "work").rglob("*.safetensors")) == []
    assert len(list((folder / "work").rglob("lift.json"))) == 1


def test_a_bundle_that_was_damaged_in_the_work_folder_is_not_published(run, command, folder, monkeypatch):
    """It is made again from the inputs; here that fails, and nothing reaches the store."""
    untrainable(monkeypatch)
    (model,) = (folder / "work").rglob("ranker/model.onnx")
    good = model.read_bytes()
    model.write_bytes(good[:-1])
    try:
        assert run(*command, "--out-store", folder / "third") == 1
        assert not (folder / "third").exists()
    finally:
        model.write_bytes(good)


def test_publish_promotes_an_entry_to_another_store_once(run, folder, last_words):
    promote = ["publish", "--bundle", folder / "store/shop/1", "--out-store", folder / "production"]
    for _ in range(2):
        assert run(*promote) == 0
        assert last_words()["bundles"] == {"shop": str(folder / "production/shop/1")}
    assert run(*promote, "--name", "other") == 0
    assert entries(folder / "production") == [("other", 1, True), ("shop", 1, True)]
    assert verify(str(folder / "production/shop/1")).bundle == verify(str(folder / "store/shop/1")).bundle


def test_publish_takes_a_bundles_folder_and_refuses_a_damaged_one(run, folder, last_words, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(folder / "store/shop/1/bundle", copy)
    assert run("publish", "--bundle", copy, "--out-store", tmp_path / "store") == 0
    assert entries(tmp_path / "store") == [("ranker", 1, True)]  # the bundle's own name
    (copy / "metrics.json").write_text("{}")
    assert run("publish", "--bundle", copy, "--out-store", tmp_path / "other") == 1
    assert "metrics.json has sha256" in last_words()["message"]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--recipe": "nothing"}, "the name of a recipe of the project: default, demo, movielens-folds, movielens"),
        ({"--recipe": "{data}/items.parquet"}, "--recipe|not YAML|utf-8"),
        ({"--data": "{data}/nowhere"}, "a folder with interactions.parquet"),
        ({"--captions": "{data}"}, "holds no captions; expected captions-"),
        ({"--tokenizer": "{data}/nothing.json"}, "--tokenizer .*nothing.json: cannot be read"),
        ({"--tokenizer": "{data}/items.parquet"}, "items.parquet"),
        ({"--out-store": "nothing://x"}, "nothing://x"),
        ({"--name": "a b"}, "model name 'a b'"),
    ],
)
def test_bad_input_is_1_with_a_message_and_no_traceback(
    run, given, inputs, last_words, tmp_path, capsys, changes, words
):
    options = dict(zip(inputs[::2], inputs[1::2], strict=True)) | {
        "--work": tmp_path,
        "--out-store": tmp_path / "store",
    }
    options |= {name: value.format(data=given / "data") for name, value in changes.items()}
    assert run("train", *(word for option in options.items() for word in option)) == 1
    told = last_words()
    assert (told["job"], told["outcome"]) == ("train", "failed")
    assert re.search(words, told["message"])
    assert "Traceback" not in capsys.readouterr().err


def test_an_unexpected_error_is_1_with_its_traceback_in_the_log(run, command, last_words, monkeypatch, capsys):
    def explode(*args):
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr(run_folder.RunFolder, "written_bundles", explode)
    assert run(*command) == 1
    assert last_words()["message"] == "ZeroDivisionError: of nothing; see the log"
    assert "Traceback" in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_69_and_the_job_may_be_tried_again(
    run, command, last_words, monkeypatch, tmp_path
):
    def unreachable(*args, **kwargs):
        raise StoreUnreachableError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(ModelStore, "publish", unreachable)
        assert run(*command, "--out-store", tmp_path / "store") == 69
        assert (last_words()["outcome"], last_words()["message"]) == ("failed", "the store is away")
    untrainable(monkeypatch)
    assert run(*command, "--out-store", tmp_path / "store") == 0


def test_a_store_that_cannot_be_used_is_told_before_anything_is_read(run, command, last_words, monkeypatch):
    monkeypatch.setattr(job_ranks, "read_inputs", lambda *args: pytest.fail("read"))
    assert run(*command, "--out-store", "pvc://claim/models") == 1
    assert "in a pod give the path where the claim is mounted" in last_words()["message"]


def test_a_ranker_far_below_the_item_mean_is_kept_told_and_published_by_force_alone(
    run, inputs, folder, last_words, monkeypatch
):
    said = "the ranker with captions is far below the item mean: AUC 0.5000 against 0.7088 [-0.2200, -0.1900]"
    monkeypatch.setattr(lift, "unfit_rankers", lambda rows, found: {lift.WITH: said})
    train = ["train", *inputs, "--work", folder / "unfit", "--out-store", folder / "unfit-store", "--name", "shop"]
    assert run(*train) == 1
    told = last_words()
    assert (told["outcome"], told["bundles"]) == ("failed", {})
    assert said in told["message"]
    assert told["message"].endswith("or give --force")
    assert not (folder / "unfit-store" / "shop").exists()
    untrainable(monkeypatch)
    assert run(*train, "--force") == 0
    assert said in last_words()["message"]
    promote = ["publish", "--bundle", folder / "unfit-store/shop/1", "--out-store", folder / "unfit-production"]
    assert run(*promote) == 1
    assert "--force" in last_words()["message"]
    assert not (folder / "unfit-production" / "shop").exists()
    assert run(*promote, "--force") == 0
