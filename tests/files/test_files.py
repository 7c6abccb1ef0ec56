from pathlib import Path

import pytest

from models.files import new_folder, write_atomic


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_atomic(tmp_path / "deep" / "a.json", b"one")
    write_atomic(tmp_path / "deep" / "a.json", b"two")
    assert (tmp_path / "deep" / "a.json").read_bytes() == b"two"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"old")
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "a", "text, not bytes")  # type: ignore[arg-type]
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with new_folder(tmp_path / "bundle") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "x").write_bytes(b"x")
        assert not (tmp_path / "bundle").exists()
    assert (tmp_path / "bundle" / "inner" / "x").read_bytes() == b"x"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_an_interrupted_folder_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "bundle") as folder:
            (folder / "x").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(FileExistsError, match="choose another name"), new_folder(tmp_path / "bundle"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
