"""Publishing: whole or not at all, one number each, the same on a file system and on S3."""

import errno
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest
from werkzeug.serving import make_server

from models import files
from models.bundle import BundleError, read_bundle
from models.store import objects
from models.store import store as module
from models.store.errors import ModelStoreError, NoSuchEntryError, StoreUnreachableError, UnfinishedEntryError
from models.store.fetch import fetch_bundle, verify
from models.store.folder import LocalFolder
from models.store.store import ModelStore

NOW = "2026-11-24T10:00:00+00:00"


def files_of(uri):
    filesystem, root = fsspec.url_to_fs(uri, use_listings_cache=False, skip_instance_cache=True)
    return sorted(path.removeprefix(root).lstrip("/") for path in filesystem.find(root))


def test_an_entry_holds_the_bundle_a_triton_repository_and_the_digests_of_both(store_uri, bundle):
    done = ModelStore.at(store_uri).publish(bundle.path, created=NOW)
    assert done.uri == f"{store_uri}/ranker/1"
    assert done.repository == f"{store_uri}/ranker/1/repository"
    names = ("contract.json", "manifest.json", "metrics.json", "model.onnx", "tokenizer.json")
    assert files_of(done.uri) == [
        *(f"bundle/{name}" for name in names),
        "claim.json",
        "entry.json",
        "repository/ranker/1/model.onnx",
        "repository/ranker/config.pbtxt",
    ]
    with fsspec.open(f"{done.uri}/entry.json") as file:
        entry = json.load(file)
    assert (entry["name"], entry["number"], entry["created"]) == ("ranker", 1, NOW)
    assert (entry["bundle"], entry["contract_digest"]) == (bundle.id, bundle.contract.digest)
    assert entry["git_revision"] == "0123abc"
    assert set(entry["files"]) == set(files_of(done.uri)) - {"entry.json"}
    assert entry["size"] == sum(file["bytes"] for file in entry["files"].values())
    assert entry["files"]["bundle/model.onnx"] == entry["files"]["repository/ranker/1/model.onnx"]


def test_numbers_rise_per_name_and_the_name_can_be_given(store_uri, bundle):
    store = ModelStore.at(store_uri)
    numbers = [store.publish(bundle.path, created=NOW).entry.number for _ in range(2)]
    other = store.publish(bundle.path, created=NOW, name="ranker-b")
    assert (numbers, other.entry.number) == ([1, 2], 1)
    assert store.names() == ["ranker", "ranker-b"]
    assert [(each.name, each.number) for each in store.listing()] == [("ranker", 1), ("ranker", 2), ("ranker-b", 1)]
    assert [each.entry for each in store.listing("ranker-b")] == [other.entry]


def test_a_bundle_that_is_not_whole_is_not_published(store_uri, bundle):
    (bundle.path / "metrics.json").write_text("{}")
    with pytest.raises(BundleError, match=r"metrics\.json has sha256"):
        ModelStore.at(store_uri).publish(bundle.path, created=NOW)
    assert ModelStore.at(store_uri).names() == []


@pytest.mark.parametrize("name", [" ", "..", "a/b", ".hidden", "x" * 64])
def test_a_name_that_is_no_folder_is_refused(tmp_path, bundle, name):
    with pytest.raises(ModelStoreError, match="model name"):
        ModelStore.at(str(tmp_path / "store")).publish(bundle.path, created=NOW, name=name)
    assert not (tmp_path / "store").exists()


def publish_in_a_process(uri, bundle, times, found):
    store = ModelStore.at(uri)
    found.put([store.publish(Path(bundle), created=NOW).entry.number for _ in range(times)])


def test_publishers_at_the_same_moment_get_different_numbers_and_whole_entries(store_uri, bundle):
    processes, times = (6, 3) if "://" not in store_uri else (4, 2)
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    publishers = [
        context.Process(target=publish_in_a_process, args=(store_uri, str(bundle.path), times, found))
        for _ in range(processes)
    ]
    for each in publishers:
        each.start()
    numbers = [number for _ in publishers for number in found.get(timeout=100)]
    for each in publishers:
        each.join(30)
        assert each.exitcode == 0
    assert sorted(numbers) == list(range(1, processes * times + 1))
    assert all(verify(f"{store_uri}/ranker/{number}").bundle == bundle.id for number in numbers)


KILLED = """
import sys, time
from pathlib import Path
from models.store import folder, objects
from models.store.store import ModelStore

def slow(step):
    def waits(*given):
        time.sleep(0.02)
        return step(*given)
    return waits

# Every step takes as long as it does with a large model, so that a kill falls into the middle more often than not.
for kind in (folder.LocalFolder, objects.ObjectFolder):
    kind.write, kind.upload = slow(kind.write), slow(kind.upload)
store = ModelStore.at(sys.argv[1])
store.names()  # loads the driver, which takes as long as a publish
print("ready", flush=True)
while True:
    store.publish(Path(sys.argv[2]), created="2026-11-24T10:00:00+00:00")
"""


def test_a_publish_killed_at_any_moment_leaves_nothing_that_is_taken_for_a_bundle(store_uri, bundle, tmp_path):
    moments = random.Random(7)
    rounds = 12 if "://" not in store_uri else 8
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for _ in range(rounds):
        command = [sys.executable, "-c", KILLED, store_uri, str(bundle.path)]
        publisher = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert publisher.stdout is not None
        publisher.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.6))
        publisher.send_signal(signal.SIGKILL)
        publisher.wait(10)
        publisher.stdout.close()
    listed = ModelStore.at(store_uri).listing()
    assert [each.number for each in listed] == list(range(1, len(listed) + 1))
    for each in listed:
        if each.entry is None:
            assert each.fault == "unfinished"
            with pytest.raises(UnfinishedEntryError, match="is not finished"):
                fetch_bundle(each.uri, tmp_path / "fetched")
        else:
            assert verify(each.uri).bundle == bundle.id
    assert any(each.entry is None for each in listed), "no round was killed in the middle: the test shows nothing"
    assert ModelStore.at(store_uri).publish(bundle.path, created=NOW).entry.number == len(listed) + 1


@pytest.mark.parametrize("step", ["claim.json", "bundle/model.onnx", "repository/ranker/config.pbtxt", "entry.json"])
def test_a_publish_that_ends_before_a_step_is_shown_as_unfinished(tmp_path, bundle, monkeypatch, step):
    writes = LocalFolder.write

    def fails(self, path, content):
        if path == step:
            raise StoreUnreachableError("the disk is full")
        writes(self, path, content)

    store = ModelStore.at(str(tmp_path / "store"))
    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "write", fails)
        if step == "claim.json":
            patched.setattr("models.store.folder.write_atomic", lambda path, content: fails(None, path.name, content))
        with pytest.raises(StoreUnreachableError, match="full"):
            store.publish(bundle.path, created=NOW)
    (listed,) = store.listing()
    assert (listed.number, listed.entry, listed.fault) == (1, None, "unfinished")
    assert listed.claimed == (None if step == "claim.json" else f"{NOW} on {socket.gethostname()}")
    with pytest.raises(UnfinishedEntryError):
        verify(str(tmp_path / "store" / "ranker" / "1"))
    assert store.publish(bundle.path, created=NOW).entry.number == 2


def test_a_bundle_replaced_during_its_publish_is_never_published_half_and_half(
    tmp_path, bundle, new_bundle, monkeypatch
):
    place = module.place_model

    def replaced(*args, **kwargs):
        new_bundle(bundle.path, weight=b"trained again")
        return place(*args, **kwargs)

    monkeypatch.setattr(module, "place_model", replaced)
    done = ModelStore.at(str(tmp_path / "store")).publish(bundle.path, created=NOW)
    assert done.entry.bundle == bundle.id != read_bundle(bundle.path).id
    assert verify(done.uri).bundle == bundle.id


def test_a_server_that_ignores_the_condition_is_refused(s3, bundle, monkeypatch):
    store = ModelStore.at(s3)
    monkeypatch.setattr(objects.ObjectFolder, "_create", lambda self, path, content: self.write(path, content) or True)
    with pytest.raises(ModelStoreError, match="If-None-Match"):
        store.publish(bundle.path, created=NOW)


def test_a_store_without_exclusive_create_can_be_read_and_not_published_to(bundle):
    with pytest.raises(ModelStoreError, match="publishing over memory://"):
        ModelStore.at("memory://models").publish(bundle.path, created=NOW)


def test_wrong_addresses_say_what_is_wrong(s3, bundle, tmp_path, monkeypatch):
    with pytest.raises(ModelStoreError, match="mounted"):
        ModelStore.at("pvc://claim/models")
    with pytest.raises(ModelStoreError, match="nosuch"):
        ModelStore.at("nosuch://models")
    with pytest.raises(NoSuchEntryError, match="bucket"):
        ModelStore.at("s3://no-such-bucket/models").listing()
    with pytest.raises(NoSuchEntryError, match="bucket"):
        ModelStore.at("s3://no-such-bucket/models").publish(bundle.path, created=NOW)
    with pytest.raises(NoSuchEntryError, match="empty or not there"):
        ModelStore.at(str(tmp_path / "nothing")).listing()
    with pytest.raises(NoSuchEntryError, match="has no model 'other'"):
        ModelStore.at(str(tmp_path)).listing("other")


def test_a_missing_right_is_no_empty_store(s3, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreUnreachableError, match="AWS_ACCESS_KEY_ID"):
        ModelStore.at(s3).listing()


@pytest.fixture
def refusing_server():
    """An S3 server that lets nobody in."""

    def refuses(environ, start_response):
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    server = make_server("127.0.0.1", 0, refuses)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_refused_credentials_are_named(s3, bundle, refusing_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing_server)
    store = ModelStore.at(s3)
    for asked in (store.names, lambda: store.publish(bundle.path, created=NOW), lambda: verify(f"{s3}/ranker/1")):
        with pytest.raises(StoreUnreachableError, match="refuses the credentials"):
            asked()


def test_a_server_that_is_not_there_is_named_with_its_address(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnreachableError, match=r"http://127\.0\.0\.1:9"):
        ModelStore.at(s3).names()


def test_no_room_for_temporary_files_is_one_sentence(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nothing"))
    with pytest.raises(ModelStoreError, match="TMPDIR"):
        ModelStore.at(str(tmp_path / "store")).publish(bundle.path, created=NOW)


def test_a_volume_that_cannot_be_written_says_so(tmp_path, bundle):
    (tmp_path / "store").write_text("a file, not a folder")
    with pytest.raises(StoreUnreachableError, match="cannot be written"):
        ModelStore.at(str(tmp_path / "store")).publish(bundle.path, created=NOW)


@pytest.mark.parametrize("step", ["claim.json", "model.onnx", "entry.json"])
def test_a_volume_that_is_full_keeps_nothing_of_a_publish_that_failed(tmp_path, bundle, monkeypatch, step):
    """Each attempt would take more of the room that there is not."""
    store = ModelStore.at(str(tmp_path / "store"))
    store.publish(bundle.path, created=NOW)
    real = files._replace

    def full(path, data):
        if path.name == step and (tmp_path / "store") in path.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_replace", full)
        with pytest.raises(StoreUnreachableError, match=r"No space left on device, \d+ bytes needed, \d+ bytes free"):
            store.publish(bundle.path, created=NOW)
    assert [(each.number, each.fault) for each in store.listing()] == [(1, None)]
    assert store.publish(bundle.path, created=NOW).entry.number == 2
