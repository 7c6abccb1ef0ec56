"""`sightline models` as a person and a Job use it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundle import read_bundle


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
    for words in (("publish", bundle.path, "--store", s3), ("fetch", f"{s3}/ranker/1", "--to", tmp_path / "bundle")):
        done = subprocess.run([*program, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    assert read_bundle(tmp_path / "bundle").id == bundle.id


def test_the_check_of_packages_would_see_one_that_is_missing():
    program = [sys.executable, str(Path(__file__).with_name("only_extra.py")), "rollout", "train"]  # it has no torch
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
