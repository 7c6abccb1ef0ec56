"""Files that appear whole, and what is left of them when a disk is full or a process is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.experiments.events import Exposure
from serving.transformer.exposures.folder_sink import FolderSink
from serving.transformer.exposures.part import Part, finish_abandoned
from serving.transformer.exposures.recorder import open_recorder
from serving.transformer.exposures.sink import SinkError


class Hours:
    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


def ids(path: Path) -> list[str]:
    return [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()]


async def test_exposures_come_back_from_the_file_as_they_were(kit: Any, tmp_path: Path) -> None:
    told = kit.told
    uri = f"file://{tmp_path}/exposures"
    recorder = open_recorder(uri, queue=100, environment={}, count=told.count, waiting=told.waiting)
    given = [kit.exposure(1), kit.exposure(2, fallback="timeout", served="stable", degraded=("items",), items=("ä\n",))]
    async with kit.running(recorder):
        for each in given:
            recorder.record(each)
    (file,) = (tmp_path / "exposures").iterdir()
    assert file.suffix == ".jsonl"
    assert [Exposure.model_validate_json(line) for line in file.read_bytes().splitlines()] == given


def test_a_file_has_its_final_name_when_its_time_or_size_is_over(kit: Any, tmp_path: Path) -> None:
    clock = Hours()
    sink = FolderSink(tmp_path, seconds=60, size=1500, now=clock)
    sink.write(kit.lines(1))
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    clock.time += 61
    sink.tend()
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]
    sink.write(kit.lines(2, 3, 4, 5))
    sink.write(kit.lines(6))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jsonl", ".jsonl", ".part"]
    clock.time -= 3600
    sink.tend()
    sink.close()
    assert sorted(tuple(ids(path)) for path in tmp_path.glob("*.jsonl")) == [
        ("event-1",),
        ("event-2", "event-3", "event-4", "event-5"),
        ("event-6",),
    ]
    assert not list(tmp_path.glob("*.part"))


def test_an_empty_file_leaves_nothing(tmp_path: Path) -> None:
    Part.new(tmp_path / "x.jsonl.part", 0.0).finish()
    assert not list(tmp_path.iterdir())


def fill(sink: FolderSink, kit: Any) -> None:
    for _ in range(10):
        sink.write(kit.lines(*range(500)))


def test_a_full_disk_is_counted_and_ends_nothing(kit: Any, tmp_path: Path) -> None:
    """On a real file system of 1 MB, where one can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        sink = FolderSink(folder, seconds=600, size=1 << 30)
        sink.write(kit.lines(*range(500)))
        with pytest.raises(SinkError, match=r"No space left on device; free space") as failed:
            fill(sink, kit)
        assert failed.value.again
        (part,) = folder.iterdir()
        whole = ids(part)  # no cut line
        assert len(whole) % 500 == 0
        with pytest.raises(SinkError, match="No space"):
            sink.write(kit.lines(*range(500)))
        sink.write(kit.lines(7))
        sink.close()
        (file,) = folder.glob("*.jsonl")
        assert ids(file) == [*whole, "event-7"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_write_that_fails_half_way_leaves_the_file_as_it_was(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FolderSink(tmp_path, seconds=600, size=1 << 30)
    sink.write(kit.lines(1))
    real = os.fsync

    def broken(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(SinkError, match="Input/output error"):
        sink.write(kit.lines(2))
    monkeypatch.setattr(os, "fsync", real)
    sink.write(kit.lines(3))
    sink.close()
    (file,) = tmp_path.iterdir()
    assert ids(file) == ["event-1", "event-3"]


def test_a_folder_that_is_removed_is_made_again(kit: Any, tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "exposures", seconds=600, size=1 << 30)
    sink.write(kit.lines(1))
    (file,) = (tmp_path / "exposures").iterdir()
    file.unlink()
    (tmp_path / "exposures").rmdir()
    sink.write(kit.lines(2))
    sink.close()
    (file,) = (tmp_path / "exposures").iterdir()
    assert ids(file) == ["event-2"]


def test_a_folder_that_cannot_be_written_says_so(kit: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="let this process write there"):
        FolderSink(tmp_path / "file", seconds=600, size=1).write(kit.lines(1))


WRITER = """
import sys
from pathlib import Path
from serving.transformer.exposures.folder_sink import FolderSink
from serving.transformer.exposures.sink import Line
sink = FolderSink(Path(sys.argv[1]), seconds=600, size=1 << 30)
for number in range(10**9):
    sink.write([Line(str(number), 1.0, b'{"id":"%d"}' % number)])
    print(number, flush=True)
"""


def test_what_a_killed_process_has_written_is_there_and_gets_its_final_name(kit: Any, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(50):
            acknowledged = int(writer.stdout.readline())
        (part,) = tmp_path.glob("*.part")
        os.utime(part, (1, 1))
        assert finish_abandoned(tmp_path, now=1e10) == []  # old, but its writer lives
        writer.send_signal(signal.SIGKILL)
    with part.open("ab") as file:
        file.write(b'{"id":"cut')
    os.utime(part, (1, 1))
    sink = FolderSink(tmp_path, seconds=600, size=1 << 30)
    sink.write(kit.lines(1))
    (file,) = tmp_path.glob("*.jsonl")
    found = [int(each) for each in ids(file)]
    assert found == list(range(len(found)))
    assert len(found) > acknowledged
    sink.close()


def test_a_young_part_and_one_without_a_whole_line(tmp_path: Path) -> None:
    (tmp_path / "young.jsonl.part").write_bytes(b'{"id":"1"}\n')
    (tmp_path / "cut.jsonl.part").write_bytes(b"x" * 200_000)
    os.utime(tmp_path / "cut.jsonl.part", (1, 1))
    now = (tmp_path / "young.jsonl.part").stat().st_mtime
    assert [path.name for path in finish_abandoned(tmp_path, now)] == ["cut.jsonl.part"]
    assert [path.name for path in tmp_path.iterdir()] == ["young.jsonl.part"]
