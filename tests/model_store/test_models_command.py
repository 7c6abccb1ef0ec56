"""`sightline models` as a person and a Job use it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.bundle import read_bundle
from models.store.errors import ModelStoreError
from models.store.fetch import opened, verify
from serving.cli.main import app
from serving.stack.errors import StackError


def sightline(*words):
    command = [sys.executable, "-m", "serving.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def answer(*words):
    done = sightline("--json", "models", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_bundle_is_published_listed_verified_and_fetched(bundle, store_uri, tmp_path):
    published = answer("publish", bundle.path, "--store", store_uri)
    assert published["uri"] == f"{store_uri}/ranker/1"
    assert published["repository"] == f"{store_uri}/ranker/1/repository"
    (listed,) = answer("list", "--store", store_uri)
    assert (listed["number"], listed["fault"], listed["entry"]["bundle"]) == (1, None, bundle.id)
    assert answer("verify", published["uri"])["bundle"] == bundle.id
    fetched = answer("fetch", published["uri"], "--to", tmp_path / "bundle")
    assert (fetched["path"], fetched["contract_digest"]) == (str(tmp_path / "bundle"), bundle.contract.digest)
    words = ("--layout", "repository", "--platform", "python", "--name", "other")
    placed = answer("fetch", published["uri"], "--to", tmp_path / "repository", *words)
    assert (placed["path"], placed["version"]) == (str(tmp_path / "repository" / "other"), 1)


def test_a_bundle_is_signed_pinned_and_verified(bundle, tmp_path):
    key = answer("keygen", tmp_path / "site.pem")
    assert key["public"] == str(tmp_path / "site.pub.pem")
    answer("keygen", tmp_path / "other.pem")
    store = tmp_path / "store"
    published = answer("publish", bundle.path, "--store", store, "--sign", tmp_path / "site.pem")
    assert published["signed"]
    assert published["pinned"] == f"{store}/ranker/1@{bundle.id}"
    assert answer("verify", published["pinned"], "--key", key["public"])["bundle"] == bundle.id
    wrong = sightline("models", "verify", published["uri"], "--key", tmp_path / "other.pub.pem")
    assert wrong.returncode == 1
    assert f"is signed by {key['key']}" in " ".join(wrong.stderr.split())
    assert answer("sign", published["uri"], "--key", tmp_path / "other.pem")["number"] == 1
    assert answer("verify", published["uri"], "--key", tmp_path / "other.pub.pem")["bundle"] == bundle.id
    assert not answer("publish", bundle.path, "--store", store)["signed"]


def test_a_person_reads_tables_and_sentences(bundle, tmp_path):
    done = sightline("models", "publish", bundle.path, "--store", tmp_path / "store")
    assert f"storageUri for KServe: {tmp_path}/store/ranker/1/repository" in done.stdout
    (tmp_path / "store" / "ranker" / "2").mkdir()
    listed = sightline("models", "list", "--store", tmp_path / "store").stdout
    assert bundle.id[7:19] in listed
    assert "unfinished" in listed
    verified = sightline("models", "verify", tmp_path / "store" / "ranker" / "1").stdout
    assert "is whole and unchanged" in verified


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("verify", "{tmp}/store/ranker/2"), 1, "no such entry"),
        (("list", "--store", "{tmp}/nothing"), 1, "is empty or not there"),
        (("fetch", "{bundle}", "--to", "{bundle}", "--name", "x"), 2, "--layout repository only"),
        (("fetch", "pvc://claim/ranker/1", "--to", "{tmp}/out"), 1, "where the claim is mounted"),
    ],
)
def test_a_refusal_is_one_sentence_and_a_code(bundle, tmp_path, words, code, message):
    given = [word.format(tmp=tmp_path, bundle=bundle.path) for word in words]
    done = sightline("models", *given)
    assert done.returncode == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("extra", ["captioner", "ranker", "rollout", "transformer", "trainer"])
def test_an_image_has_the_packages_that_its_models_command_needs(bundle, s3, tmp_path, extra):
    program = [sys.executable, str(Path(__file__).with_name("only_extra.py")), extra, "--json", "models"]
    for words in (
        ("keygen", tmp_path / "key.pem"),
        ("publish", bundle.path, "--store", s3, "--sign", tmp_path / "key.pem"),
        ("verify", f"{s3}/ranker/1", "--key", tmp_path / "key.pub.pem"),
        ("fetch", f"{s3}/ranker/1", "--to", tmp_path / "bundle"),
    ):
        done = subprocess.run([*program, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    assert read_bundle(tmp_path / "bundle").id == bundle.id


def test_the_check_of_packages_would_see_one_that_is_missing():
    program = [sys.executable, str(Path(__file__).with_name("only_extra.py")), "rollout", "train"]  # it has no torch
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_a_ranker_that_training_found_unfit_is_published_and_exported_by_force_alone(new_bundle, tmp_path):
    said = "the ranker with captions is far below the item mean: AUC 0.5000 against 0.7088 [-0.2200, -0.1900]"
    bundle = new_bundle(tmp_path / "trained" / "ranker", metrics={"unfit": said})
    publish = ("models", "publish", bundle.path, "--store", tmp_path / "store")
    export = ("export", bundle.path, tmp_path / "repository", "--platform", "python")
    for command, made in ((publish, tmp_path / "store" / "ranker"), (export, tmp_path / "repository" / "ranker")):
        refused = sightline(*command)
        assert (refused.returncode, said in " ".join(refused.stderr.split())) == (1, True)
        assert "--force" in refused.stderr
        assert not made.exists()
        assert sightline(*command, "--force").returncode == 0
        assert made.exists()


def here(*words):
    """The command in this process; what it refuses is the result's exception."""
    return CliRunner().invoke(app, [str(word) for word in words])


def published(place, store, *more):
    return json.loads(here("--json", "models", "publish", place, "--store", store, *more).stdout)["uri"]


def test_every_command_that_reads_a_bundle_takes_one_of_a_store(bundle, store_uri, tmp_path):
    entry = published(bundle.path, store_uri)
    shown = here("--json", "contract", "show", entry)
    assert (shown.exit_code, json.loads(shown.stdout)["name"]) == (0, bundle.contract.name), shown.output
    told = here("contract", "diff", entry, bundle.path)
    assert (told.exit_code, "No change" in told.stdout) == (0, True), told.output
    placed = json.loads(here("--json", "export", entry, tmp_path / "repository").stdout)
    assert (placed["model"], placed["version"]) == ("ranker", 1)
    again = published(entry, tmp_path / "other", "--name", "second")
    assert verify(again).bundle == bundle.id
    with opened(entry) as found:
        assert (found.id, found.contract) == (bundle.id, bundle.contract)
    assert not found.path.exists()
    lost = here("contract", "show", f"{store_uri}/ranker/7" if "://" in store_uri else tmp_path / "lost.json")
    assert isinstance(lost.exception, (StackError, ModelStoreError)), lost.output


def test_a_refused_copy_is_called_what_was_given(new_bundle, store_uri, tmp_path):
    unfit = new_bundle(tmp_path / "unfit", metrics={"unfit": "the ranker is far below the item mean"})
    entry = published(unfit.path, store_uri, "--force")
    refused = here("export", entry, tmp_path / "repository")
    assert str(refused.exception).startswith(f"{entry}: the ranker is far below the item mean; ")
