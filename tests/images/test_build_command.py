"""`make images` with a builder that only writes down what it was asked."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RECORDER = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["ASKED"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "images":
    print("123 MB")
if sys.argv[1] in ("save", "push"):
    target = sys.argv[-1] if sys.argv[1] == "push" else sys.argv[sys.argv.index("--output") + 1]
    open(target.removeprefix("docker-archive:").split(":")[0], "x").write(sys.argv[1])
"""


@pytest.fixture
def build(tmp_path):
    """(NAME=value, …) -> (the finished command, what the builder was asked)."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "sed", "git", "date", "env", "mkdir", "mv", "rm"):
        (programs / name).symlink_to(shutil.which(name))

    def run(*builders, **environment):
        for name in builders:
            (programs / name).write_text(RECORDER)
            (programs / name).chmod(0o755)
        asked = tmp_path / "asked"
        answer = subprocess.run(
            [programs / "bash", ROOT / "serving" / "images" / "build.sh"],
            env={"PATH": str(programs), "ASKED": str(asked), "HOME": os.environ["HOME"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return answer, [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []

    return run


def values(call, flag):
    return [call[place + 1] for place, word in enumerate(call) if word == flag]


def test_every_role_is_built_and_its_size_printed(build):
    answer, asked = build("docker")
    assert answer.returncode == 0, answer.stderr
    roles = [values(call, "--target")[0] for call in asked if call[0] == "build"]
    assert roles == ["captioner", "transformer", "ranker", "trainer", "rollout", "items"]
    assert [line.split() for line in answer.stdout.splitlines()] == [
        [f"sightline/{role}:{VERSION}", "123", "MB"] for role in roles
    ]


def test_images_carry_their_version_and_revision(build):
    _, asked = build("docker", ROLES="ranker", SOURCE="https://example.com/sightline", LICENSES="Apache-2.0")
    labels = dict(label.split("=", 1) for label in values(asked[0], "--label"))
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert labels["version"] == VERSION
    assert labels["revision"]
    assert labels["created"].endswith("Z")
    assert labels["source"] == "https://example.com/sightline"
    assert labels["licenses"] == "Apache-2.0"


def test_images_name_their_base_and_its_digest(build):
    base = f"registry.example.com/python:3.11@sha256:{'a' * 64}"
    _, asked = build("docker", ROLES="ranker items", BASE=base)
    ranker, items = (
        {name.rpartition("image.")[2]: value for name, _, value in map(partitioned, values(call, "--label"))}
        for call in asked
        if call[0] == "build"
    )
    assert (ranker["base.name"], ranker["base.digest"]) == tuple(base.split("@"))
    default = re.search(r"^ARG SYSTEM_BASE=([^@\s]+)", (ROOT / "serving/Dockerfile").read_text(), re.MULTILINE)[1]
    assert items["base.name"] == default


def partitioned(label):
    return label.partition("=")


def test_the_same_commit_says_the_same_time_and_it_can_be_chosen(build):
    created = []
    for chosen in ({}, {}, {"SOURCE_DATE_EPOCH": "0"}):
        _, asked = build("docker", ROLES="ranker", **chosen)
        labels = dict(label.split("=", 1) for label in values(asked[-2], "--label"))
        created.append(labels["org.opencontainers.image.created"])
    assert created[0] == created[1]
    assert created[2] == "1970-01-01T00:00:00Z"


def test_security_updates_can_be_left_out(build):
    _, asked = build("docker", ROLES="items", UPDATES="no")
    assert "UPDATES=no" in values(asked[0], "--build-arg")


def test_cuda_is_a_build_argument_and_part_of_the_tag(build):
    _, asked = build("docker", ROLES="captioner", ACCELERATOR="cuda")
    assert "ACCELERATOR=cuda" in values(asked[0], "--build-arg")
    assert values(asked[0], "--tag") == [f"sightline/captioner:{VERSION}-cuda"]


def test_names_bases_and_platform_can_be_chosen(build):
    _, asked = build(
        "buildah",
        BUILDER="buildah",
        ROLES="ranker",
        PREFIX="registry.example.com/team",
        TAG="7",
        PLATFORM="linux/arm64",
        BASE="localhost/base:1",
        TORCH_INDEX="",
        BUILD_FLAGS="--network=host --isolation oci",
    )
    call = asked[0]
    assert values(call, "--tag") == ["registry.example.com/team/ranker:7"]
    assert values(call, "--platform") == ["linux/arm64"]
    assert {"BASE=localhost/base:1", "TORCH_INDEX="} <= set(values(call, "--build-arg"))
    assert not any(argument.startswith("SYSTEM_BASE") for argument in values(call, "--build-arg"))
    assert {"--network=host", "--isolation", "oci", "--layers"} <= set(call)


def test_a_pip_configuration_is_a_secret_of_the_build(build):
    _, asked = build("docker", ROLES="ranker", PIP_CONFIG="/home/me/pip.conf")
    assert values(asked[0], "--secret") == ["id=pip,src=/home/me/pip.conf"]
    assert not any("pip.conf" in argument for argument in values(asked[0], "--build-arg"))


@pytest.mark.parametrize("builder", ["docker", "buildah"])
def test_images_are_saved_one_archive_each_for_nodes_without_a_registry(build, tmp_path, builder):
    folder = tmp_path / "node images"
    for _ in range(2):  # again: an archive is replaced, as neither builder adds to one
        answer, _ = build(builder, BUILDER=builder, ROLES="ranker items", SAVE=str(folder))
        assert answer.returncode == 0, answer.stderr
    assert sorted(path.name for path in folder.iterdir()) == [f"items-{VERSION}.tar", f"ranker-{VERSION}.tar"]


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("sightline", f"docker.io/sightline/ranker:{VERSION}"),
        ("team/sightline", f"docker.io/team/sightline/ranker:{VERSION}"),
        ("registry.example.com/team", f"registry.example.com/team/ranker:{VERSION}"),
        ("registry:5000", f"registry:5000/ranker:{VERSION}"),
    ],
)
def test_an_archive_of_buildah_has_the_name_that_kubernetes_looks_for(build, tmp_path, prefix, name):
    _, asked = build("buildah", BUILDER="buildah", ROLES="ranker", PREFIX=prefix, SAVE=str(tmp_path))
    pushed = next(call for call in asked if call[0] == "push")
    assert pushed[-2] == f"{prefix}/ranker:{VERSION}"
    assert pushed[-1] == f"docker-archive:{tmp_path}/ranker-{VERSION}.tar.part:{name}"


def test_an_image_that_cannot_be_saved_fails_the_command(build, tmp_path):
    (tmp_path / "bin" / "docker").write_text('#!/bin/sh\n[ "$1" = build ]\n')
    (tmp_path / "bin" / "docker").chmod(0o755)
    answer, _ = build(ROLES="ranker", SAVE=str(tmp_path / "saved"))
    assert answer.returncode == 1
    assert list((tmp_path / "saved").iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"BUILDER": "kaniko"}, "BUILDER is 'kaniko'; expected docker or buildah"),
        ({}, "docker is not installed; set BUILDER=docker or BUILDER=buildah"),
        ({"BUILDER": "buildah"}, "buildah is not installed"),
    ],
)
def test_an_unusable_builder_is_refused(build, environment, message):
    answer, asked = build(**environment)
    assert (answer.returncode, asked) == (2, [])
    assert message in answer.stderr


def test_a_failed_build_fails_the_command(build, tmp_path):
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\nexit 5\n")
    (tmp_path / "bin" / "docker").chmod(0o755)
    answer, _ = build(ROLES="ranker")
    assert answer.returncode == 5
