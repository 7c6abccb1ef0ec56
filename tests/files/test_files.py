from pathlib import Path

import pytest

from models.files import OutsideError, inside, new_folder, write_atomic


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


@pytest.mark.parametrize("name", ["a", "a/b.json", "ä/..b", "...", "a b/c"])
def test_a_name_of_plain_parts_lies_inside(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/x", "//etc/x", "a//b", "a/", "/", "../x", "a/../../x", "a/./b", "a\\b", "a\0b", "a\nb"],
)
def test_a_name_that_is_not_one_of_plain_parts_is_refused(tmp_path, name):
    with pytest.raises(OutsideError, match="not the name of a file inside"):
        inside(tmp_path / "folder", name)


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_not(tmp_path):
    folder = tmp_path / "folder"
    (folder / "there").mkdir(parents=True)
    (folder / "out").symlink_to(tmp_path)
    (folder / "in").symlink_to("there")
    assert inside(folder, "in/x") == folder / "in" / "x"
    with pytest.raises(OutsideError, match="leads out"):
        inside(folder, "out/x")
