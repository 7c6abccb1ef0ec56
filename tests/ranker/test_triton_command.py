"""How the local Triton is started, and what is said when it cannot be."""

import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from serving.ranker import command as module
from serving.ranker.command import RESTRICTION_HEADER, TritonCommand, TritonServerError


@pytest.fixture
def command(tmp_path):
    (tmp_path / "repository").mkdir()
    return TritonCommand(tmp_path / "repository", 1, 2, 3, tmp_path / "work")


def test_every_address_is_loopback(command):
    addresses = [argument for argument in command.argv if "-address=" in argument]
    assert len(addresses) == 3
    assert all(argument.endswith("=127.0.0.1") for argument in addresses)


def test_without_a_key_of_ours_nothing_is_loaded_after_the_start_and_nobody_has_the_key(command):
    assert "--model-control-mode=none" in command.argv
    keys = [argument.rpartition("=")[2] for argument in command.argv if "-restricted-" in argument]
    assert len(keys) == 3
    assert len(set(keys)) == 2, "inference over HTTP has one of its own"
    assert all(len(key) > 40 for key in keys)
    assert not set(keys) & {each.rpartition("=")[2] for each in command.argv if "-restricted-" in each}


def test_inference_over_http_is_for_the_key_alone_unless_it_is_opened(command):
    restricted = f"--http-restricted-api=inference:{RESTRICTION_HEADER}=a key"
    assert restricted in replace(command, inference_key="a key").argv
    opened = replace(command, open_inference=True).argv
    assert not any("inference:" in argument for argument in opened)


def test_the_base_pythons_library_comes_before_the_wheels(command):
    env = command.env({"LD_LIBRARY_PATH": "/mine", "PATH": "/bin", "HOME": "/root"})
    first, second, third = env["LD_LIBRARY_PATH"].split(":")
    assert (Path(first) / "libpython3.11.so.1.0").is_file()
    assert second.endswith("nvidia_pytriton.libs")
    assert third == "/mine"
    assert env["PATH"] == f"{sys.prefix}/bin:/bin"
    assert env["HOME"] == "/root"


def test_preparing_copies_the_stub_and_clears_what_an_earlier_run_left(command):
    left = command.workdir / "backends" / "python" / "left"
    left.mkdir(parents=True)
    command.prepare()
    stub = command.workdir / "backends" / "python" / "triton_python_backend_stub"
    assert stub.stat().st_mode & 0o111
    assert not stub.is_symlink()
    assert (stub.parent / "libtriton_python.so").is_file()
    assert not left.exists()


def test_two_working_folders_never_share_memory_regions(command, tmp_path):
    other = TritonCommand(command.repository, 1, 2, 3, tmp_path / "elsewhere")
    names = [[each for each in one.argv if "shm-region" in each] for one in (command, other)]
    assert names[0] != names[1]


def test_a_python_without_a_shared_library_is_told_how_to_get_one(command, monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(module.sys, "base_prefix", str(tmp_path))
    with pytest.raises(TritonServerError, match=r"needs libpython3\.11\.so\.1\.0, which .*--enable-shared"):
        command.prepare()


def test_a_missing_wheel_is_told(command, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TritonServerError, match="nvidia-pytriton is not installed; run `make setup`"):
        command.prepare()
