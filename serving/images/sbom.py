"""Bills of materials, CycloneDX 1.6: `python -m serving.images.sbom --out dist/sbom`, or `make sbom`.

One file per image's extra, `whole.cdx.json` for all of them with what tests and development need, and licences.txt.
They are made from pyproject.toml, requirements.lock and the metadata of the environment that `make setup` made; with
`--rootfs FOLDER`, an unpacked image, its Debian packages are added. Exit code 1 for a licence that licences.yaml does
not allow or know: nothing is written then.
"""

import argparse
import os
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from models.files import write_atomic
from serving.images.licences import Licences, UnknownLicenceError, read
from serving.images.locked import canonical, entries
from serving.images.requirements import requirements

ROOT = Path(__file__).parents[2]
IMAGES = ("captioner", "transformer", "ranker", "trainer", "rollout")
WEIGHTS = ROOT / "models" / "captioner" / "tiny"
_NAMESPACE = uuid.UUID("6f0b6f7e-6d56-5d0a-9a0c-0d6a3f5f5b6e")


def parts(wanted: Iterable[str], left_out: Iterable[str]) -> dict[str, Distribution]:
    """The installed packages that requirements lead to, by canonical name.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [each for each in map(Requirement, wanted) if each.marker is None or each.marker.evaluate()]
    while todo:
        each = todo.pop()
        name = canonical(each.name)
        if name in left_out:
            continue
        found[name] = distribution(each.name)
        for extra in ("", *each.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += _required(each.name, extra)
    return found


@cache
def _declared(name: str) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, distribution(name).requires or ()))


def _required(name: str, extra: str) -> Iterator[Requirement]:
    for each in _declared(name):
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            yield each


def python_component(part: Distribution, expression: str, entry: str | None) -> Component:
    """A package, with the digests of its files in the lock (torch's entry is none: its builds differ)."""
    name = canonical(str(part.metadata["Name"]))
    digests = re.findall(r"sha256:([0-9a-f]{64})", entry or "")
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=part.version,
        bom_ref=f"pypi/{name}",
        purl=PackageURL("pypi", None, name, part.version),
        licenses=[LicenseFactory().make_from_string(expression)],
        properties=[Property(name="sightline:lock:sha256", value=each) for each in digests],
    )


def weights_component(folder: Path) -> Component:
    """The tiny captioner's weights; each file is in its SHA256SUMS."""
    lines = (line.split() for line in (folder / "SHA256SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name="sightline-tiny-captioner",
        version=sums["model.safetensors"][:12],
        bom_ref="weights/tiny-captioner",
        description="Trained by this project from scenes that it draws: make captioner",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sums["model.safetensors"])],
    )


def debian_components(status: str) -> Iterator[Component]:
    """The installed packages of a dpkg status file. Their licences are in /usr/share/doc/NAME/copyright."""
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version, built = fields["Package"], fields["Version"], fields["Architecture"]
            purl = PackageURL("deb", "debian", name, version, {"arch": built})
            yield Component(
                type=ComponentType.LIBRARY, name=name, version=version, bom_ref=f"deb/{name}/{built}", purl=purl
            )


def bill(name: str, version: str, components: Mapping[str, Component], more: Iterable[Component] = ()) -> str:
    """The JSON text. The same parts make the same text: its time is SOURCE_DATE_EPOCH, its number made of its parts."""
    bom = Bom()
    bom.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    root = Component(type=ComponentType.APPLICATION, name=name, version=version, bom_ref=name)
    bom.metadata.component = root
    contents = [*components.values(), *more]
    for each in contents:
        bom.components.add(each)
    told = "\n".join(sorted(f"{each.bom_ref.value} {each.version}" for each in contents))
    bom.serial_number = uuid.uuid5(_NAMESPACE, f"{name} {version}\n{told}")
    bom.register_dependency(root, components.values())
    for key, component in components.items():
        needed = {canonical(each.name) for each in _required(key, "")}
        bom.register_dependency(component, [components[each] for each in needed & components.keys()])
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def licensed(found: Mapping[str, Distribution], known: Licences) -> tuple[dict[str, str], list[str]]:
    """Each part's licence, and a sentence for each that is not allowed or not known."""
    told, faults = {}, []
    for name, part in sorted(found.items()):
        try:
            told[name] = known.of(part)
        except UnknownLicenceError as error:
            faults.append(f"{error}: read its licence and add it to licences.yaml")
            continue
        if not known.allows(told[name]):
            faults.append(f"{name} {part.version} is {told[name]}, which licences.yaml does not allow")
    return told, faults


def _files(project: Mapping[str, Any], debian: Sequence[Component]) -> tuple[dict[str, str], list[str]]:
    """Text of every file, by name, and the faults."""
    known, lock = read(), entries((ROOT / "requirements.lock").read_text())
    contents = {name: parts(requirements(project, [name]), known.left_out) for name in IMAGES}
    everything = [line for line in requirements(project, (*IMAGES, "dev")) if not line.startswith("sightline[")]
    contents["whole"] = parts(everything, known.left_out)
    told, faults = licensed(contents["whole"], known)
    outside = sorted(contents["whole"].keys() - lock.keys() - {"torch"})  # torch is pinned in pyproject.toml
    faults += [f"{name} is installed and not in requirements.lock: make lock" for name in outside]
    if faults:
        return {}, faults
    made = {name: python_component(part, told[name], lock.get(name)) for name, part in contents["whole"].items()}
    weights = weights_component(WEIGHTS)
    files = {}
    for name, found in contents.items():
        chosen = {each: made[each] for each in found}
        more = [*debian, *([weights] if name in {"captioner", "trainer", "whole"} else [])]
        files[f"{name}.cdx.json"] = bill(f"sightline-{name}", project["version"], chosen, more)
    lines = [f"{name}=={part.version}: {told[name]}" for name, part in sorted(contents["whole"].items())]
    lines += [f"{name}: left out. {reason}" for name, reason in sorted(known.left_out.items())]
    files["licences.txt"] = "\n".join(lines) + "\n"
    return files, []


def main(argv: Sequence[str]) -> int:
    """Write all files, or none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rootfs", type=Path)
    given = parser.parse_args(argv)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    try:
        status = (given.rootfs / "var/lib/dpkg/status").read_text("utf-8") if given.rootfs else ""
        files, faults = _files(project, list(debian_components(status)))
    except (PackageNotFoundError, OSError) as error:
        faults = [f"{error}: make setup" if isinstance(error, PackageNotFoundError) else str(error)]
    if faults:
        sys.stderr.write("".join(f"{each}\n" for each in faults))
        return 1
    given.out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomic(given.out / name, text.encode())
        sys.stdout.write(f"{given.out / name}: {len(text.splitlines()):,} lines\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
