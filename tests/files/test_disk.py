"""A file system that takes no more: told with the place and the bytes, and nothing half-written stays."""

import errno
import os
import pickle
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from models.disk import NoRoomError, is_no_room
from models.files import new_folder, write_atomic


@pytest.fixture
def tiny(tmp_path):
    """A real file system of 256 KiB; only root can mount one."""
    place = tmp_path / "tiny"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_every_refusal_names_the_path_the_bytes_needed_and_the_bytes_free(tmp_path, monkeypatch, number):
    def refuse(handle):
        raise OSError(number, os.strerror(number))

    write_atomic(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(NoRoomError) as told:
        write_atomic(tmp_path / "a", b"x" * 12345)
    assert re.fullmatch(
        rf"{tmp_path}/a cannot be written \({os.strerror(number)}, 12345 bytes needed, "
        r"\d+ bytes free on its file system\); .+",
        str(told.value),
    )
    assert (told.value.errno, told.value.filename) == (number, str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_it_comes_whole_out_of_a_worker_process():
    error = NoRoomError(errno.ENOSPC, "No space left on device, 5 bytes needed", "/work/a")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert is_no_room(again)
    assert not is_no_room(FileNotFoundError(errno.ENOENT, "no"))


def test_on_a_full_file_system_the_old_file_stays_and_no_other(tiny):
    write_atomic(tiny / "a", b"old")
    with pytest.raises(NoRoomError, match=r"No space left on device, 1000000 bytes needed, 2\d{5} bytes free"):
        write_atomic(tiny / "a", b"x" * 1_000_000)
    assert (tiny / "a").read_bytes() == b"old"
    with pytest.raises(NoRoomError, match=f"{tiny}/folder cannot be written"), new_folder(tiny / "folder") as folder:
        (folder / "b").write_bytes(b"x" * 1_000_000)
    assert os.listdir(tiny) == ["a"]


def test_on_a_read_only_file_system_it_is_told_before_anything_is_written(tiny):
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    with pytest.raises(NoRoomError, match=r"Read-only file system, 3 bytes needed.*mount it for writing"):
        write_atomic(tiny / "deep" / "a", b"abc")


def test_beyond_the_limit_of_a_files_size_it_is_told_too(tmp_path):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # noqa: E731
    program = "import sys; from pathlib import Path; from models.files import write_atomic\n"
    program += "try: write_atomic(Path(sys.argv[1]), b'x' * 2000)\nexcept OSError as error: print(error)"
    command = [sys.executable, "-B", "-c", program, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=True)
    assert f"{tmp_path}/a cannot be written (File too large, 2000 bytes needed" in done.stdout
    assert list(Path(tmp_path).iterdir()) == []
