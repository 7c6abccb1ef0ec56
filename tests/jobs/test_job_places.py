"""Where a job writes: a full disk is another attempt's matter, and what goes with the pod is said aloud."""

import errno
import os
import re
import shutil
import tempfile
from argparse import Namespace

import pytest

from models import files
from models.bundle import read_bundle
from training import job, job_train, run_folder
from training.job_places import IN_A_POD, fleeting_places, goes_with_pod, written

MOUNTS = """\
600 500 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a
601 600 0:51 / /proc rw - proc proc rw
602 600 254:0 /var/lib/kubelet/pods/7d/volumes/kubernetes.io~empty-dir/work /work rw - ext4 /dev/vda rw
603 600 254:0 /var/lib/kubelet/pods/7d/volumes/kubernetes.io~csi/pvc-1/mount /volume rw - ext4 /dev/vdb rw
604 600 254:0 /srv/claims/one /with\\040space rw - ext4 /dev/vda rw
605 600 0:60 / /dev/shm rw - tmpfs tmpfs rw,size=1g
606 603 0:61 / /volume/nfs rw - nfs4 server:/export rw
"""


@pytest.fixture
def mounts(tmp_path):
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    return file


@pytest.mark.parametrize(
    ("path", "goes"),
    [
        ("/work", True),
        ("/work/a/b", True),
        ("/workshop", True),  # the container's own layer
        ("/volume/work", False),
        ("/volume/nfs/x", False),
        ("/with space/x", False),
        ("/dev/shm/x", True),
        ("/opt", True),
    ],
)
def test_an_emptydir_memory_and_the_containers_layer_go_with_the_pod(mounts, path, goes):
    assert goes_with_pod(path=type(mounts)(path), mounts=mounts) is goes


def test_each_place_that_goes_is_named_with_what_is_lost(mounts):
    def told(environment={IN_A_POD: "10.0.0.1"}, **places):  # noqa: B006
        return list(fleeting_places(written(Namespace(job="train", **places)), environment, mounts))

    work, store = told(work="/work", out=None, out_store="/work/models")
    assert work == (
        "--work /work goes with this pod, and what the Job writes there with it: "
        "give the folder of a PersistentVolumeClaim"
    )
    assert store.startswith("--out-store /work/models goes with this pod, ")
    assert told(work="/volume/work", out="/volume/out", out_store="s3://bucket/models") == []
    assert told({}, work="/work", out_store="/work/models") == [], "outside of a pod nothing goes with one"


def test_the_result_says_what_goes_with_the_pod(run, inputs, tmp_path, last_words, monkeypatch, capsys):
    monkeypatch.setattr(job, "fleeting_places", lambda *_: iter(["--work goes with this pod"]))
    assert run("train", *inputs, "--work", tmp_path / "work", "--out-store", "pvc://no/store") == 1
    assert last_words()["warnings"] == ["--work goes with this pod"]
    assert capsys.readouterr().out.startswith("WARNING: --work goes with this pod\n")


def _full(monkeypatch, when):
    """From here on every file whose path has `when` in it does not reach the disk."""
    real = files._replace

    def replace(path, data):
        if when in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(files, "_replace", replace)


@pytest.mark.parametrize("when", [".writable", "run.json", ".safetensors"])
def test_a_full_work_folder_is_69_with_its_path_the_bytes_and_nothing_half_written(
    run, inputs, tmp_path, last_words, monkeypatch, capsys, when
):
    _full(monkeypatch, when)
    assert run("train", *inputs, "--work", tmp_path / "work", "--out", tmp_path / "out") == 69
    told = last_words()
    assert told["outcome"] == "failed"
    assert re.search(
        rf"{tmp_path}/work/.*{re.escape(when)}.* cannot be written \(No space left on device, "
        r"\d+ bytes needed, \d+ bytes free",
        told["message"],
    )
    assert "Traceback" not in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob(".*") if path.is_file()] == []


def test_the_attempt_after_a_full_disk_goes_on(run, inputs, published, tmp_path, monkeypatch):
    shutil.copytree(published.folder / "work", tmp_path / "work")
    command = ["train", *inputs, "--work", tmp_path / "work", "--out-store", tmp_path / "store", "--name", "shop"]
    monkeypatch.setattr(job_train, "train_all", lambda *_, **__: pytest.fail("trained again"))
    with monkeypatch.context() as patch:
        _full(patch, "store")
        assert run(*command) == 69
    assert run(*command) == 0


def test_no_place_for_temporary_files_is_told_before_anything_is_read(run, inputs, tmp_path, last_words, monkeypatch):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert run("train", *inputs, "--work", tmp_path / "work", "--out", tmp_path / "out") == 69
    assert "no folder for temporary files: No usable temporary directory found" in last_words()["message"]


def test_changed_notes_of_a_run_are_made_again_and_never_published(run, inputs, published, tmp_path):
    """The lift would stand in the store with another figure, a manifest with another time."""
    shutil.copytree(published.folder / "work", tmp_path / "work")
    (report,), (note,) = ((tmp_path / "work").rglob(name) for name in ("lift.json", "bundles.json"))
    right = report.read_bytes()
    report.write_bytes(right.replace(b"0.", b"0.9", 1))
    note.write_bytes(note.read_bytes().replace(b"a", b"b", 1))
    assert run("train", *inputs, "--work", tmp_path / "work", "--out-store", tmp_path / "store", "--name", "shop") == 0
    assert report.read_bytes() == right
    made, first = (
        read_bundle(folder / "store/shop/1/bundle").metrics["lift"] for folder in (tmp_path, published.folder)
    )
    assert made == first


def test_a_changed_note_of_when_a_run_began_is_written_anew(tmp_path):
    first = run_folder.RunFolder.open(tmp_path, {"a": 1}, "2026-01-01T00:00:00+00:00", None)
    note = first.path / "run.json"
    note.write_bytes(note.read_bytes().replace(b"2026", b"2126"))
    again = run_folder.RunFolder.open(tmp_path, {"a": 1}, "2027-01-01T00:00:00+00:00", None)
    assert again.created == "2027-01-01T00:00:00+00:00"


def test_the_note_of_a_run_from_an_earlier_version_is_taken(tmp_path):
    first = run_folder.RunFolder.open(tmp_path, {"a": 1}, "2026-01-01T00:00:00+00:00", None)
    next(tmp_path.rglob("run.json.sha256")).unlink()
    again = run_folder.RunFolder.open(tmp_path, {"a": 1}, "2027-01-01T00:00:00+00:00", None)
    assert again.created == first.created
