"""A Triton model repository: bundles placed as numbered versions, each whole or absent.

<repository>/<model name>/config.pbtxt
<repository>/<model name>/<version>/model.onnx      (and model.py for the Python platform)
"""

from __future__ import annotations

import hashlib
import re
import shutil
from importlib import resources
from pathlib import Path

from models.bundle import Bundle
from models.files import new_folder, write_atomic
from models.triton.config import Device, Platform, TritonSettings, config_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class RepositoryError(ValueError):
    """The repository cannot take this bundle as it stands; the message says why and what to do."""


def place_model(
    repository: Path,
    model_name: str,
    bundle: Bundle,
    *,
    platform: Platform = "onnxruntime",
    keep: int | None = None,
    settings: TritonSettings | None = None,
    replace: bool = False,
) -> int:
    """Place a bundle as the next version of `model_name` and return that version's number (the first is 1).

    The new config is written first and names the version; the version folder appears by one rename after it. A
    crash in between leaves the versions that were there servable. `keep` removes all but the newest `keep`
    versions at the end (None: all stay). `settings` gives everything beside the platform.

    One `config.pbtxt` speaks for all versions, so all have one contract: a bundle of another contract is refused.
    `replace=True` accepts it and removes the versions of the other contract, to which there is no rollback then.

    Raises:
        RepositoryError: a model name Triton cannot use, `keep` below 1, or versions of another contract in place.
    """
    if not _NAME.fullmatch(model_name):
        raise RepositoryError(
            f"model name {model_name!r}: expected letters, digits, '_', '-', '.', at most 63, no leading '.'"
        )
    if keep is not None and keep < 1:
        raise RepositoryError(f"keep={keep}: expected at least 1, the version that is being placed")
    folder = repository / model_name
    folder.mkdir(parents=True, exist_ok=True)
    for grave in folder.glob(_grave("*")):  # of a removal that was killed
        shutil.rmtree(grave, ignore_errors=True)
    other = _other_contract(folder, bundle)
    if other and not replace:
        raise RepositoryError(
            f"{folder} holds versions of contract {other}, the bundle {bundle.path} has contract "
            f"{bundle.contract.digest}; place it under another model name, or remove the others, to which there is "
            f"no way back then: sightline export {bundle.path} {repository} --name {model_name} --replace"
        )
    old = versions(folder)
    version = max(old, default=0) + 1
    _write_config(
        folder, bundle, (settings or TritonSettings()).model_copy(update={"platform": platform}), [*old, version]
    )
    with new_folder(folder / str(version)) as target:
        shutil.copyfile(bundle.onnx_path, target / "model.onnx")
        if platform == "python":
            source = resources.files("models.triton").joinpath("python_model.py").read_bytes()
            (target / "model.py").write_bytes(source)
    kept = 1 if other else keep
    for number in old[: max(0, len(old) + 1 - kept)] if kept else []:
        _remove(folder / str(number))
    return version


def placed_version(
    model: Path, bundle: Bundle, *, platform: Platform = "onnxruntime", device: Device = "cpu"
) -> int | None:
    """The newest version's number when it is this bundle, whole, for this platform and device."""
    if not model.is_dir() or config_parameters(model).get("bundle") != bundle.id or not (there := versions(model)):
        return None
    newest = model / str(there[-1])
    onnx = newest / "model.onnx"
    same = onnx.is_file() and onnx.read_bytes() == bundle.onnx_path.read_bytes()
    same = same and f"kind: KIND_{device.upper()}" in (model / "config.pbtxt").read_text()
    return there[-1] if same and (newest / "model.py").is_file() == (platform == "python") else None


def versions(model_folder: Path) -> list[int]:
    """The version numbers on disk, ascending."""
    return sorted(int(each.name) for each in model_folder.iterdir() if each.is_dir() and each.name.isdecimal())


def config_parameters(model_folder: Path) -> dict[str, str]:
    """The `parameters` of a `config.pbtxt` that this module wrote, by key; empty when there is none."""
    path = model_folder / "config.pbtxt"
    if not path.is_file():
        return {}
    pattern = r'^parameters \{ key: "([^"]*)" value \{ string_value: "([^"]*)" \} \}$'
    return dict(re.findall(pattern, path.read_text("utf-8"), re.MULTILINE))


def platform_of(model_folder: Path) -> Platform | None:
    """What runs the model of a `config.pbtxt` that this module wrote; None when there is none."""
    path = model_folder / "config.pbtxt"
    if not path.is_file():
        return None
    return "python" if re.search(r'^backend: "python"$', path.read_text("utf-8"), re.MULTILINE) else "onnxruntime"


def _other_contract(folder: Path, bundle: Bundle) -> str | None:
    """The contract digest of the versions in place, if it is not the bundle's."""
    placed = config_parameters(folder).get("contract_digest")
    return placed if placed != bundle.contract.digest and versions(folder) else None


def _write_config(folder: Path, bundle: Bundle, settings: TritonSettings, numbers: list[int]) -> None:
    digests = {number: _sha256(folder / str(number) / "model.onnx") for number in numbers[:-1]}
    digests[numbers[-1]] = bundle.manifest.files["model.onnx"].sha256
    text = config_text(folder.name, bundle.contract, settings, bundle=bundle.id, onnx_sha256=digests)
    write_atomic(folder / "config.pbtxt", text.encode())


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise RepositoryError(f"{path} is missing; remove the folder {path.parent}, which no bundle was placed in")
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _grave(version: str) -> str:
    return f".{version}.removed"


def _remove(folder: Path) -> None:
    """Out of Triton's sight by one rename, then deleted: a half-deleted version is never loaded."""
    grave = folder.with_name(_grave(folder.name))
    folder.rename(grave)
    shutil.rmtree(grave)
