"""Fetching and verifying: every byte is what was published, and what arrives arrives whole."""

import hashlib
import json
import os
import shutil
import stat

import fsspec
import pytest

from models.bundle import BundleError, FileEntry, UnfitError, read_bundle
from models.store.entry import Entry
from models.store.errors import DamagedEntryError, ModelStoreError, NoSuchEntryError, UnfinishedEntryError
from models.store.fetch import fetch_bundle, fetch_repository, verify
from models.store.folder import LocalFolder
from models.store.store import ModelStore

NOW = "2026-11-24T10:00:00+00:00"


@pytest.fixture
def published(store_uri, bundle):
    return ModelStore.at(store_uri).publish(bundle.path, created=NOW)


@pytest.fixture
def local(tmp_path, bundle):
    return ModelStore.at(str(tmp_path / "store")).publish(bundle.path, created=NOW)


def test_a_bundle_comes_back_as_it_went_in(published, bundle, tmp_path):
    done = fetch_bundle(published.uri, tmp_path / "here" / "bundle")
    assert read_bundle(tmp_path / "here" / "bundle").id == bundle.id == done.bundle
    assert done.contract_digest == bundle.contract.digest
    assert done.entry == published.entry
    assert [each.name for each in (tmp_path / "here").iterdir()] == ["bundle"]
    assert verify(published.uri).entry == published.entry


def test_a_fetch_into_an_empty_mount_point_leaves_just_the_bundle(local, bundle, tmp_path):
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    before = mounted.stat().st_ino
    fetch_bundle(local.uri, mounted)
    assert mounted.stat().st_ino == before
    assert read_bundle(mounted).id == bundle.id


def test_a_fetch_that_is_done_is_not_done_again(local, bundle, tmp_path):
    fetch_bundle(local.uri, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "model.onnx").stat().st_mtime_ns
    fetch_bundle(local.uri, tmp_path / "bundle")
    fetch_bundle(str(bundle.path), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "model.onnx").stat().st_mtime_ns == before


@pytest.mark.parametrize("arrived", [(), ("model.onnx",), ("contract.json", "metrics.json", "model.onnx")])
def test_a_killed_fetch_is_taken_up_again(local, bundle, tmp_path, arrived):
    to = tmp_path / "mounted"
    (to / ".fetching").mkdir(parents=True)
    (to / ".fetching" / "model.onnx").write_bytes(b"ha")
    for name in arrived:
        shutil.copyfile(bundle.path / name, to / name)
    with pytest.raises(BundleError):
        read_bundle(to)
    fetch_bundle(local.uri, to)
    assert read_bundle(to).id == bundle.id


def test_a_fetch_killed_at_its_very_end_is_taken_up_again(local, bundle, tmp_path):
    fetch_bundle(local.uri, tmp_path / "bundle")
    (tmp_path / "bundle" / ".fetching").mkdir()
    fetch_bundle(local.uri, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle").id == bundle.id


def test_other_peoples_files_are_not_replaced(local, new_bundle, tmp_path):
    new_bundle(tmp_path / "other", weight=b"other")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for folder in ("other", "mine"):
        with pytest.raises(ModelStoreError, match="is empty or does not exist"):
            fetch_bundle(local.uri, tmp_path / folder)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_a_repository_is_placed_for_either_platform_and_only_once(published, bundle, tmp_path):
    for _ in range(2):
        done = fetch_repository(published.uri, tmp_path / "python", platform="python", name="other")
        assert (done.version, done.path) == (1, tmp_path / "python" / "other")
    assert sorted(os.listdir(tmp_path / "python" / "other" / "1")) == ["model.onnx", "model.py"]
    fetch_repository(published.uri, tmp_path / "onnx", platform="onnxruntime")
    assert sorted(os.listdir(tmp_path / "onnx" / "ranker" / "1")) == ["model.onnx"]
    assert (tmp_path / "onnx" / "ranker" / "1" / "model.onnx").read_bytes() == bundle.onnx_path.read_bytes()
    assert fetch_repository(published.uri, tmp_path / "onnx", platform="python").version == 2


def test_a_repository_for_a_gpu_says_so_and_is_not_mistaken_for_the_cpu_s(published, tmp_path):
    config = tmp_path / "ranker" / "config.pbtxt"
    assert fetch_repository(published.uri, tmp_path, platform="onnxruntime").version == 1
    assert "KIND_CPU" in config.read_text()
    for _ in range(2):
        assert fetch_repository(published.uri, tmp_path, platform="onnxruntime", device="gpu").version == 2
    assert "KIND_GPU" in config.read_text()


def test_a_ranker_that_must_not_be_served_is_placed_by_force_alone(new_bundle, tmp_path):
    unfit = new_bundle(tmp_path / "unfit", metrics={"unfit": "the ranker is far below the item mean"})
    says = r"the ranker is far below the item mean; .* or give --force \(chart: model\.force\)"
    with pytest.raises(UnfitError, match=says):
        fetch_repository(str(unfit.path), tmp_path / "repository", platform="onnxruntime")
    assert not (tmp_path / "repository").exists()
    assert fetch_repository(str(unfit.path), tmp_path / "repository", platform="onnxruntime", force=True).version == 1


def test_kserve_finds_a_triton_repository_at_the_storage_uri(published, bundle):
    with fsspec.open(f"{published.repository}/ranker/config.pbtxt", "rt") as file:
        config = file.read()
    assert 'name: "ranker"' in config
    assert "onnxruntime" in config
    assert bundle.id in config
    with fsspec.open(f"{published.repository}/ranker/1/model.onnx") as file:
        assert file.read() == bundle.onnx_path.read_bytes()


def test_a_plain_bundle_is_verified_and_fetched_too(bundle, tmp_path):
    assert verify(str(bundle.path)).bundle == bundle.id
    assert fetch_bundle(str(bundle.path), tmp_path / "copy").entry is None
    assert fetch_repository(f"{bundle.path}/", tmp_path / "repository", platform="python").path == (
        tmp_path / "repository" / "ranker"
    )
    (bundle.path / "metrics.json").write_text("{}")
    with pytest.raises(DamagedEntryError, match=r"metrics\.json has sha256"):
        verify(str(bundle.path))


def test_a_mounted_store_is_read_without_any_right_to_write(local, bundle, tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("a reader wrote to the store")

    for name in ("write", "upload", "claim"):
        monkeypatch.setattr(LocalFolder, name, refused)
    store = tmp_path / "store"
    tree = [store, *store.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in tree}
    for path in tree:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    try:
        assert verify(local.uri).bundle == bundle.id
        assert fetch_bundle(local.uri, tmp_path / "bundle").bundle == bundle.id
        assert len(ModelStore.at(str(store)).listing()) == 1
    finally:
        for path in tree:
            path.chmod(stat.S_IRWXU)
    assert {path: path.stat().st_mtime_ns for path in [store, *store.rglob("*")]} == before


def test_a_flip_of_any_byte_of_any_file_is_found(local, tmp_path):
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(files) == 9
    for path in files:
        good = path.read_bytes()
        places = range(len(good)) if path.name in ("entry.json", "claim.json") else range(0, len(good), 97)
        for place in places:
            path.write_bytes(good[:place] + bytes([good[place] ^ 0x01]) + good[place + 1 :])
            with pytest.raises((DamagedEntryError, BundleError)):
                verify(local.uri)
        path.write_bytes(good)
    verify(local.uri)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "tokenizer.json"])
def test_a_damaged_file_is_named_with_both_digests_and_never_fetched(published, tmp_path, name):
    with fsspec.open(f"{published.uri}/bundle/{name}", "wb") as file:
        file.write(b"damaged")
    with pytest.raises(DamagedEntryError, match=rf"{name} has sha256:\w+ \(7 bytes\), expected sha256:\w+"):
        verify(published.uri)
    with pytest.raises(DamagedEntryError):
        fetch_bundle(published.uri, tmp_path / "bundle")
    with pytest.raises(DamagedEntryError):
        fetch_repository(published.uri, tmp_path / "repository", platform="python")
    assert not (tmp_path / "bundle").exists()
    assert not (tmp_path / "repository").exists()


def test_missing_and_extra_files_are_found(local, tmp_path):
    place = tmp_path / "store" / "ranker" / "1"
    (place / "note.txt").write_text("hello")
    with pytest.raises(DamagedEntryError, match=r"note\.txt"):
        verify(local.uri)
    (place / "note.txt").unlink()
    (place / "repository" / "ranker" / "config.pbtxt").unlink()
    with pytest.raises(DamagedEntryError, match=r"config\.pbtxt is missing"):
        verify(local.uri)


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "bundle/../../../secret",
        "bundle/{target}",  # absolute once `bundle/` is taken away: bundle//tmp/planted
        "bundle/sub/model.py",
        "bundle/model.py",
        "repository/ranker/1/model.py",
        "repository/ranker/../../planted",
        "{target}",
        "planted",
        "./claim.json",
    ],
)
def test_an_entry_that_lists_other_files_than_its_format_has_is_refused_before_any_is_copied(
    local, tmp_path, name, outside
):
    """Made consistent, digests and all, as somebody who can write to the store would."""
    target = tmp_path / "planted"
    name = name.format(target=target)
    place = tmp_path / "store" / "ranker" / "1"
    content = b"import os"
    if not outside:
        (place / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (place / name.lstrip("/")).write_bytes(content)
    file = FileEntry(sha256="sha256:" + hashlib.sha256(content).hexdigest(), bytes=len(content))
    wrong = Entry.model_validate({**local.entry.model_dump(), "files": {**local.entry.files, name: file}})
    (place / "entry.json").write_bytes(wrong.to_json())
    for attempt in (
        lambda: fetch_bundle(local.uri, tmp_path / "bundle"),
        lambda: fetch_repository(local.uri, tmp_path / "repository", platform="python"),
        lambda: verify(local.uri),
    ):
        with pytest.raises(DamagedEntryError, match=r"entry\.json lists "):
            attempt()
    assert not target.exists()
    assert not (tmp_path / "bundle").exists()
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("name", ["/{target}", "../planted", "model.py", "sub/model.onnx"])
def test_a_plain_bundle_that_lists_other_files_than_its_format_has_is_refused(bundle, tmp_path, name):
    target = tmp_path / "planted"
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    manifest["files"][name.format(target=target)] = manifest["files"]["metrics.json"]
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json lists "):
        fetch_bundle(str(bundle.path), tmp_path / "copy")
    assert not target.exists()
    assert not (tmp_path / "copy").exists()


def test_a_link_in_a_store_that_leads_out_of_its_entry_is_not_read(local, tmp_path):
    """A volume that several write to: a link would bring a file of the reader's own pod into a bundle."""
    model = tmp_path / "store" / "ranker" / "1" / "bundle" / "model.onnx"
    elsewhere = tmp_path / "elsewhere"
    model.rename(elsewhere)
    model.symlink_to(elsewhere)
    with pytest.raises(DamagedEntryError, match="leads out of"):
        fetch_bundle(local.uri, tmp_path / "bundle")


def test_a_file_that_is_longer_than_listed_is_not_read_to_its_end(local, tmp_path):
    place = tmp_path / "store" / "ranker" / "1" / "bundle"
    os.truncate(place / "metrics.json", 1 << 40)  # a hole of a terabyte
    with pytest.raises(DamagedEntryError, match=r"metrics\.json is longer than the \d+ bytes that are listed"):
        fetch_bundle(local.uri, tmp_path / "bundle")
    os.truncate(place / "manifest.json", 1 << 40)
    with pytest.raises(DamagedEntryError, match=r"manifest\.json is longer than 1048576 bytes"):
        fetch_bundle(str(place), tmp_path / "bundle")


def test_a_target_that_cannot_be_written_is_named(local, tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ModelStoreError, match=r"file.* cannot be written"):
        fetch_bundle(local.uri, tmp_path / "file" / "bundle")
    with pytest.raises(ModelStoreError, match=r"file.* cannot be written"):
        fetch_repository(local.uri, tmp_path / "file" / "repository", platform="python")


def test_a_list_shows_what_is_damaged_and_goes_on(local, bundle, tmp_path):
    store = ModelStore.at(str(tmp_path / "store"))
    store.publish(bundle.path, created=NOW)
    shutil.copytree(tmp_path / "store" / "ranker" / "1", tmp_path / "store" / "ranker" / "3")
    entry = tmp_path / "store" / "ranker" / "1" / "entry.json"
    changed = json.loads(entry.read_text())
    changed["git_revision"] = "another"
    entry.write_text(json.dumps(changed, indent=2, sort_keys=True) + "\n")
    first, second, third = store.listing()
    assert first.entry is None
    assert "was changed after it was written" in str(first.fault)
    assert second.entry is not None
    assert "is of ranker/1: it was copied here" in str(third.fault)
    assert store.publish(bundle.path, created=NOW).entry.number == 4


def test_a_wrong_place_says_what_is_there(published, store_uri):
    with pytest.raises(NoSuchEntryError, match="is a model; give one of its numbers"):
        verify(f"{store_uri}/ranker")
    with pytest.raises(NoSuchEntryError, match="holds the folders ranker"):
        verify(store_uri)
    with pytest.raises(NoSuchEntryError, match="no such entry"):
        verify(f"{store_uri}/ranker/2")
    with pytest.raises(NoSuchEntryError, match="no such entry"):
        verify(f"{store_uri}/other/1")


def test_an_unfinished_entry_is_not_fetched(published, tmp_path):
    filesystem, root = fsspec.url_to_fs(published.uri)
    filesystem.rm(f"{root}/entry.json")
    with pytest.raises(UnfinishedEntryError, match="being published now, or a publish was killed"):
        fetch_bundle(published.uri, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
