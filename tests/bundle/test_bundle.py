"""A bundle is read whole and unchanged, or refused by the name of what is wrong."""

import hashlib
import json
import os

import onnx
import pytest

from models.bundle import BundleError, Provenance, read_bundle, write_bundle
from models.contract import CaptionFeature, CategoricalFeature, Contract, HashBuckets, HashEncoder
from models.export.metadata import CONTRACT_DIGEST

TOKENIZER = b'{"version": "1.0"}'
PROVENANCE = Provenance(
    name="ranker", created="2026-11-22T20:00:00+00:00", git_revision="0123abc", data_digest="sha256:1"
)
FILES = ("contract.json", "manifest.json", "metrics.json", "model.onnx", "tokenizer.json")


def contract(tokenizer=TOKENIZER, version=1):
    caption = CaptionFeature(
        tokenizer_sha256=hashlib.sha256(tokenizer).hexdigest(),
        max_tokens=4,
        encoder=HashEncoder(buckets=20, seed=0, max_ngram=1),
    )
    field = CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=30))
    return Contract(name="t", version=version, categorical=(field,), caption=caption)


def onnx_file(folder, digest):
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    onnx.helper.set_model_props(model, {CONTRACT_DIGEST: digest})
    path = folder / "exported.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def write(folder, out="bundle", **changes):
    made = changes.pop("contract", contract())
    given = {
        "onnx_path": onnx_file(folder, changes.pop("digest", made.digest)),
        "contract": made,
        "tokenizer": TOKENIZER,
        "metrics": {"auc": 0.75, "lift": {"low": None}},
        "provenance": PROVENANCE,
    }
    return write_bundle(folder / out, **{**given, **changes})


def test_what_is_written_is_read_back(tmp_path):
    written = write(tmp_path)
    assert read_bundle(tmp_path / "bundle") == written
    assert tuple(sorted(each.name for each in written.path.iterdir())) == FILES
    assert written.contract == contract()
    assert written.tokenizer == TOKENIZER
    assert written.metrics == {"auc": 0.75, "lift": {"low": None}}
    assert written.onnx_path.read_bytes() == (tmp_path / "exported.onnx").read_bytes()
    assert written.manifest.contract_digest == contract().digest
    assert written.manifest.format_version == 1
    assert written.manifest.files["tokenizer.json"].sha256 == "sha256:" + hashlib.sha256(TOKENIZER).hexdigest()


def test_the_id_is_the_digest_of_the_manifest(tmp_path):
    bundle = write(tmp_path)
    assert bundle.id == "sha256:" + hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()


def test_a_contract_without_captions_has_no_tokenizer(tmp_path):
    bundle = write(tmp_path, contract=contract().without_caption(), tokenizer=None)
    assert bundle.tokenizer is None
    assert not (bundle.path / "tokenizer.json").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(tmp_path, name):
    bundle = write(tmp_path)
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=f"no readable {name}"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_anywhere_is_refused(tmp_path, name):
    bundle = write(tmp_path)
    path = bundle.path / name
    original = path.read_bytes()
    for place in {0, len(original) // 2, len(original) - 2}:
        data = bytearray(original)
        data[place] ^= 1
        path.write_bytes(bytes(data))
        if name == "manifest.json" and place == len(original) // 2:
            continue  # may be a letter of its free text: another manifest, with another id
        with pytest.raises(BundleError, match=name):
            read_bundle(bundle.path)


def test_another_word_in_the_manifest_is_another_bundle(tmp_path):
    bundle = write(tmp_path)
    rewrite_manifest(bundle, lambda document: document.update(git_revision="another"))
    assert read_bundle(bundle.path).id != bundle.id


def test_an_extra_file_is_refused(tmp_path):
    bundle = write(tmp_path)
    (bundle.path / "notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"\['notes.txt'\], which manifest.json does not list"):
        read_bundle(bundle.path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"no readable manifest.json \(No such file"):
        read_bundle(tmp_path / "nothing")


def rewrite_manifest(bundle, change):
    path = bundle.path / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format_version=2),
        lambda document: document.update(surprise=1),
        lambda document: document.pop("git_revision"),
        lambda document: document.update(created="yesterday"),
        lambda document: document.update(created="2026-11-22T20:00:00"),
        lambda document: document["files"]["model.onnx"].update(sha256="md5:1"),
    ],
)
def test_a_manifest_of_another_form_is_refused(tmp_path, change):
    bundle = write(tmp_path)
    rewrite_manifest(bundle, change)
    with pytest.raises(BundleError, match="not a manifest of format 1"):
        read_bundle(bundle.path)


def test_a_manifest_that_lists_a_path_outside_is_refused(tmp_path):
    bundle = write(tmp_path)
    rewrite_manifest(bundle, lambda document: document["files"].update({"../x": document["files"]["model.onnx"]}))
    with pytest.raises(BundleError, match=r"lists .*\.\./x"):
        read_bundle(bundle.path)


def test_a_model_of_another_contract_is_refused_when_written_and_when_read(tmp_path):
    with pytest.raises(BundleError, match=r"exported for contract sha256:0+, the contract's digest is sha256:"):
        write(tmp_path, digest="sha256:" + "0" * 64)
    assert not (tmp_path / "bundle").exists()
    bundle = write(tmp_path)
    other = onnx_file(tmp_path, "sha256:" + "0" * 64).read_bytes()
    bundle.onnx_path.write_bytes(other)
    entry = {"sha256": "sha256:" + hashlib.sha256(other).hexdigest(), "bytes": len(other)}
    rewrite_manifest(bundle, lambda document: document["files"].update({"model.onnx": entry}))
    with pytest.raises(BundleError, match="exported for contract"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("tokenizer", [None, b"another"])
def test_a_tokenizer_that_the_contract_does_not_name_is_refused(tmp_path, tokenizer):
    with pytest.raises(BundleError, match=r"tokenizer.json has sha256 .* the contract's caption field needs"):
        write(tmp_path, tokenizer=tokenizer)


def test_a_tokenizer_for_a_contract_without_captions_is_refused(tmp_path):
    with pytest.raises(BundleError, match="none for a contract without captions"):
        write(tmp_path, contract=contract().without_caption())


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_bytes(b"hello, this is not a model")
    with pytest.raises(BundleError, match="is not an ONNX file"):
        write(tmp_path, onnx_path=tmp_path / "text.onnx")


def test_metrics_with_nan_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write(tmp_path, metrics={"auc": float("nan")})


def test_a_bundle_replaces_a_bundle_and_nothing_else(tmp_path):
    first = write(tmp_path)
    second = write(tmp_path, contract=contract(version=2))
    assert second.id != first.id
    assert read_bundle(tmp_path / "bundle") == second
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bundle", "exported.onnx"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is not a bundle"):
        write(tmp_path, out="mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_write_that_fails_leaves_the_old_bundle(tmp_path, monkeypatch):
    first = write(tmp_path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, contract=contract(version=2))
    monkeypatch.undo()
    assert read_bundle(tmp_path / "bundle") == first
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bundle", "exported.onnx"]


def test_what_an_interrupted_write_left_does_not_stop_the_next(tmp_path):
    for name in (".bundle.new", ".bundle.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    write(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bundle", "exported.onnx"]
