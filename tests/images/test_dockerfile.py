"""The Dockerfile as text: what it pins, what it installs, and that chart, extras and code agree with it."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serving.images.locked import canonical, divide, entries
from training.revision import ENVIRONMENT

ROOT = Path(__file__).parents[2]
ROLES = ("captioner", "transformer", "ranker", "trainer", "rollout", "items")
PYTHON_ROLES = ROLES[:-1]
LOCKED = ROOT / "serving" / "images" / "locked.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "serving" / "Dockerfile").read_text())


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage name -> (what it is from, its instructions)."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            source, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            found[name] = (source, [])
        elif found:
            found[next(reversed(found))][1].append((word, rest))
    return found


def said(stage: str, word: str) -> list[str]:
    return [rest for each, rest in stages()[stage][1] if each == word]


def test_every_role_has_a_target():
    assert set(ROLES) <= set(stages())


def test_every_image_comes_from_a_pinned_base():
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    sources = {source for source, _ in stages().values()}
    outside = {source for source in sources if source not in stages()}
    assert outside == {"${BASE}", "${SYSTEM_BASE}"}
    for name in ("BASE", "SYSTEM_BASE"):
        assert re.fullmatch(
            r"docker\.io/library/(python|debian):\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", arguments[name]
        ), arguments[name]
    assert arguments["BASE"].startswith("docker.io/library/python:3.11.")
    assert "latest" not in DOCKERFILE


@pytest.mark.parametrize("role", ROLES)
def test_an_image_runs_as_a_numeric_user_and_says_what_it_is(role):
    words = [word for word, _ in stages()[role][1]]
    assert said(role, "USER") == ["10001:10001"]
    assert words.index("USER") == len(words) - 2, "only CMD follows: nothing is installed as the user"
    label = " ".join(said(role, "LABEL"))
    assert f'image.title="Sightline {role}"' in label
    assert "image.description=" in label
    assert not said(role, "ENTRYPOINT"), "KubeRay gives commands of its own"


@pytest.mark.parametrize("role", PYTHON_ROLES)
def test_an_image_has_its_own_extra_and_the_project(role):
    assert stages()[role][0] == "runtime"
    assert f"--from={role}-libraries /opt/sightline /opt/sightline" in said(role, "COPY")
    assert said(role, "COPY")[-1] == "--from=package /package/ /"
    installed = " ".join(said(f"{role}-libraries", "RUN"))
    extras = re.findall(r"\./install\.sh ([a-z-]+)", installed)
    assert role in extras
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_no_image_copies_sources_tests_or_tools_of_the_build():
    final = [rest for role in ("runtime", *ROLES) for rest in said(role, "COPY")]
    assert len(final) > 10
    assert [rest for rest in final if not rest.startswith("--from=")] == []
    packages = [rest for role in ROLES for rest in said(role, "RUN") if "apt-get install" in rest]
    assert len(packages) == 2
    assert [name for rest in packages for name in ("gcc", "build-essential", "g++", "-dev") if name in rest] == []


def test_the_captioner_has_what_kuberays_probes_run():
    assert "bash wget" in " ".join(said("captioner", "RUN"))


@pytest.mark.parametrize("stage", ["runtime", "items"])
def test_no_program_of_an_image_runs_as_another_user_than_its_caller(stage):
    assert "-perm /6000 -exec chmod a-s" in said(stage, "RUN")[-1]


def test_jobs_know_the_revision_of_their_image_and_no_layer_is_made_again_for_it():
    words = [word for word, _ in stages()["trainer"][1]]
    assert said("trainer", "ENV") == [f"{ENVIRONMENT}=$REVISION"]
    assert said("trainer", "ARG") == ["REVISION=unknown"]
    layers = [place for place, word in enumerate(words) if word in ("COPY", "RUN")]
    assert max(layers) < words.index("ARG") < words.index("ENV")
    others = [role for role in ROLES if role != "trainer" and "training.job" in f"{said(role, 'CMD')}"]
    assert others == [], "a role that trains needs the revision too"


def test_the_command_of_an_image_exists_in_the_project():
    for role in PYTHON_ROLES:
        command = yaml.safe_load(said(role, "CMD")[0])
        if command[0] == "python":
            assert command[1] == "-m"
            assert find_spec(command[2]) is not None, command
        else:
            assert command[0] in PROJECT["scripts"]


def test_the_charts_images_are_the_targets_with_the_projects_version():
    images = yaml.safe_load((ROOT / "charts" / "sightline" / "values.yaml").read_text())["images"]
    ours = {value["repository"] for value in images.values() if isinstance(value, dict)}
    ours = {name.removeprefix("sightline/") for name in ours if name.startswith("sightline/")}
    assert ours
    assert ours <= set(ROLES)
    chart = yaml.safe_load((ROOT / "charts" / "sightline" / "Chart.yaml").read_text())
    assert chart["appVersion"] == PROJECT["version"]


def test_rays_version_in_the_chart_is_the_images():
    values = yaml.safe_load((ROOT / "charts" / "sightline" / "values.yaml").read_text())
    assert (
        f"ray[serve]=={values['captioner']['rayService']['rayVersion']}"
        in PROJECT["optional-dependencies"]["captioner"]
    )


def test_the_context_is_what_the_images_are_made_of():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    copied = {
        part for word, rest in instructions() if word == "COPY" and "--from" not in rest for part in rest.split()[:-1]
    }
    assert {part.split("/")[0] for part in copied} == kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_requirements_of_a_role_are_the_projects_and_its_extras():
    command = [sys.executable, "serving/images/requirements.py", "pyproject.toml"]
    answer = subprocess.run([*command, "rollout"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == PROJECT["dependencies"] + PROJECT["optional-dependencies"]["rollout"]
    refused = subprocess.run([*command, "rolout"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "has no extra 'rolout'; it has captioner, " in refused.stderr


_BLOCK = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
"""


def closure(requirements):
    """Distributions that these requirements bring, their extras' included."""
    wanted, seen = [Requirement(line) for line in requirements], set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        for extra in requirement.extras or {""}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found = [Requirement(line) for line in metadata.requires(name) or []]
            wanted += [each for each in found if not each.marker or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def absent_modules(requirements):
    """Modules of this environment that an image with these requirements has not."""
    there = closure(requirements)
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if module not in ("models", "serving", "training")
        and not {canonicalize_name(owner) for owner in owners} & there
    ]


def test_the_command_line_starts_with_the_projects_own_dependencies():
    absent = absent_modules(PROJECT["dependencies"])
    assert {"torch", "kserve", "redis"} <= set(absent)
    answer = subprocess.run(
        [sys.executable, "-c", _BLOCK + "import serving.cli.main", *absent],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("program", ["collector.run", "operator.run", "verdict.run", "report.page", "report.figures"])
def test_the_programs_of_experiments_start_with_the_libraries_of_their_image(program):
    absent = absent_modules(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["rollout"])
    assert {"torch", "kserve", "lmdb"} <= set(absent)
    answer = subprocess.run(
        [sys.executable, "-c", f"{_BLOCK}import serving.rollout.{program}", *absent],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def test_every_requirement_of_the_images_is_in_the_lock_with_digests():
    lock = entries((ROOT / "requirements.lock").read_text())
    wanted = {
        canonical(re.match(r"[A-Za-z0-9_.-]+", line).group())
        for role in PYTHON_ROLES
        for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"][role]
    }
    assert len(wanted) > 20
    assert wanted - set(lock) == {"torch"}  # its builds differ
    assert [name for name, entry in lock.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


LOCK = """\
# a remark
numpy==1.26.4 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
typing-extensions==4.16.0 \\
    --hash=sha256:cc
"""


def test_what_the_lock_has_is_installed_by_digests_and_the_rest_by_version():
    locked, rest = divide(LOCK, {"Typing_Extensions": "4.16.0", "torch": "2.13.0+cpu"})
    assert locked == ["typing-extensions==4.16.0 \\\n    --hash=sha256:cc"]
    assert rest == ["torch==2.13.0+cpu"]
    with pytest.raises(ValueError, match=r"numpy 1\.26\.5 is planned, and the lock has numpy==1\.26\.4: make lock"):
        divide(LOCK, {"numpy": "1.26.5"})


def test_pip_refuses_a_file_of_other_bytes(tmp_path):
    """With the entries as they are written for an image: one wheel, whose digest is and is not the lock's."""
    wheel = tmp_path / "one-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("one.py", "")
        file.writestr("one-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: one\nVersion: 1.0\n")
        file.writestr("one-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("one-1.0.dist-info/RECORD", "")
    (tmp_path / "plan.json").write_text('{"install": [{"metadata": {"name": "one", "version": "1.0"}}]}')
    for digest, said in ((hashlib.sha256(wheel.read_bytes()).hexdigest(), ""), ("0" * 64, "DO NOT MATCH THE HASHES")):
        (tmp_path / "lock").write_text(f"one==1.0 \\\n    --hash=sha256:{digest}\n")
        written = ["lock", "plan.json", "--locked", "locked.txt", "--rest", "rest.txt"]
        assert subprocess.run([sys.executable, LOCKED, *written], cwd=tmp_path, check=False).returncode == 0
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--no-index",
            "--find-links",
            ".",
            "--require-hashes",
        ]
        pip += ["--target", "here", "--upgrade", "--requirement", "locked.txt"]
        done = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (said == "")
        assert said in done.stderr
        assert (tmp_path / "rest.txt").read_text() == ""
