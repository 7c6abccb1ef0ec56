"""The bundle: the folder that carries a trained ranker from training to serving.

    model.onnx       the ranker, with the contract's digest in its metadata
    contract.json    what the ranker eats
    tokenizer.json   the caption tokenizer, when the contract has captions
    metrics.json     what was measured, with the captions' lift and its interval
    manifest.json    sha256 and size of every file above, and where it all came from
    signature.json   who made it, where somebody signed it (see models.store.signature)

Whoever reads a bundle reads all of it or none: a missing, extra or changed file is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from models.contract import Contract, ContractError
from models.export.metadata import CONTRACT_DIGEST, OnnxMetadataError, read_metadata
from models.files import new_folder

MODEL, CONTRACT, TOKENIZER, METRICS, MANIFEST, SIGNATURE = (
    "model.onnx",
    "contract.json",
    "tokenizer.json",
    "metrics.json",
    "manifest.json",
    "signature.json",
)


UNFIT = "unfit"
"""Key of metrics.json: why the ranker must not be served, null where nothing speaks against it."""


class BundleError(ValueError):
    """The folder is not a whole, unchanged bundle; the message names the file, what was expected and what to do."""


def _aware(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected ISO 8601 such as 2026-11-22T20:00:00+00:00")
    return text


class UnfitError(BundleError):
    """The ranker is far worse than what must be beaten; nothing was published or placed."""


Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Instant = Annotated[str, AfterValidator(_aware)]


class FileEntry(BaseModel):
    """One file of the bundle as it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    bytes: int


class Provenance(BaseModel):
    """Where a bundle came from; given by whoever writes it, so that no clock and no git runs in here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What the bundle is called, for example `ranker`."""
    created: Instant
    """ISO 8601 with a time zone."""
    git_revision: str
    """The revision of the code that trained it, or `unknown`."""
    data_digest: str
    """The digest of the data set it was trained on."""


class Manifest(Provenance):
    """The contents of manifest.json."""

    format_version: Literal[1] = 1
    contract_digest: Sha256
    contract_version: int
    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. `id` is the sha256 of manifest.json, which covers every other file."""

    path: Path
    id: str
    contract: Contract
    tokenizer: bytes | None
    metrics: Mapping[str, Any]
    manifest: Manifest

    @property
    def onnx_path(self) -> Path:
        return self.path / MODEL

    def require_fit(self, force: bool = False, remedy: str = "give --force", *, place: str | None = None) -> None:
        """Raise UnfitError if training found that the ranker must not be served, unless `force`.

        Args:
            remedy: what serves it nevertheless; the caller has an option --force if left out.
            place: what the caller was given, where this is a copy of it.
        """
        reason = self.metrics.get(UNFIT)
        if reason and not force:
            raise UnfitError(
                f"{place or self.path}: {reason}; look at the columns and the recipe and train again, or {remedy}"
            )


def write_bundle(
    out_dir: Path,
    *,
    onnx_path: Path,
    contract: Contract,
    tokenizer: bytes | None,
    metrics: Mapping[str, Any],
    provenance: Provenance,
) -> Bundle:
    """Write a bundle to `out_dir`, whole or not at all; an earlier bundle there is replaced.

    `tokenizer` is the text of the tokenizer.json whose sha256 the contract names; None for a contract without captions.

    Raises:
        BundleError: the parts do not belong together, or `out_dir` holds something that is no bundle.
    """
    contents = {
        MODEL: onnx_path.read_bytes(),
        CONTRACT: contract.to_json().encode(),
        METRICS: json.dumps(metrics, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n",
        **({} if tokenizer is None else {TOKENIZER: tokenizer}),
    }
    _check_parts(out_dir, contents, contract)
    files = {name: FileEntry(sha256=digest_of(data), bytes=len(data)) for name, data in sorted(contents.items())}
    manifest = Manifest(
        **provenance.model_dump(), contract_digest=contract.digest, contract_version=contract.version, files=files
    )
    contents[MANIFEST] = manifest.model_dump_json(indent=2).encode() + b"\n"
    _refuse_foreign(out_dir)
    settle(out_dir)
    staged = _staged(out_dir)
    with new_folder(staged) as folder:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
    _swap(staged, out_dir)
    return read_bundle(out_dir)


def read_bundle(path: Path) -> Bundle:
    """Read and verify a bundle: every file's sha256, no file missing or extra, all of one contract.

    Raises:
        BundleError: names the first file at fault, the digest found and the digest expected.
    """
    manifest_bytes = _read(path, MANIFEST)
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
    except ValidationError as error:
        raise BundleError(f"{path / MANIFEST} is not a manifest of format 1: {error}") from error
    check_names(f"{path / MANIFEST}", manifest.files)
    extra = {each.name for each in path.iterdir()} - set(manifest.files) - {MANIFEST, SIGNATURE}
    if extra:
        raise BundleError(f"{path} holds {sorted(extra)}, which {MANIFEST} does not list; remove them or export again")
    contents = {name: _read_checked(path, name, entry) for name, entry in manifest.files.items()}
    try:
        contract = Contract.from_json(contents[CONTRACT])
    except ContractError as error:
        raise BundleError(f"{path / CONTRACT} is not a contract this version reads: {error}") from error
    if contract.digest != manifest.contract_digest:
        raise BundleError(
            f"{path / CONTRACT} has digest {contract.digest}, {MANIFEST} names {manifest.contract_digest}; export again"
        )
    _check_parts(path, contents, contract)
    metrics = json.loads(contents[METRICS])
    return Bundle(path, digest_of(manifest_bytes), contract, contents.get(TOKENIZER), metrics, manifest)


def check_names(manifest: str, names: Iterable[str]) -> None:
    """A bundle has the files of its format and no others; whoever copies one asks before the first byte.

    Args:
        manifest: where the names stand, for the message.

    Raises:
        BundleError: a name is missing, or is not one of the format's.
    """
    required = {MODEL, CONTRACT, METRICS}
    if not required <= set(names) <= required | {TOKENIZER}:
        raise BundleError(f"{manifest} lists {sorted(names)}; expected {sorted(required)} and perhaps {TOKENIZER}")


def settle(out_dir: Path) -> None:
    """Bring a write that was killed between its renames to its end, and remove what else it left."""
    staged, old = _staged(out_dir), _old(out_dir)
    if not out_dir.exists():
        for whole in (staged, old):  # both are: a folder gets either name by one rename
            if whole.exists():
                whole.rename(out_dir)
                break
    shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _staged(out_dir: Path) -> Path:
    return out_dir.with_name(f".{out_dir.name}.new")


def _old(out_dir: Path) -> Path:
    return out_dir.with_name(f".{out_dir.name}.old")


def _refuse_foreign(out_dir: Path) -> None:
    """Only an earlier bundle (or an empty folder) is ever replaced."""
    if out_dir.exists() and (not out_dir.is_dir() or (any(out_dir.iterdir()) and not (out_dir / MANIFEST).is_file())):
        raise BundleError(
            f"{out_dir} exists and is not a bundle (it has no {MANIFEST}); choose another folder or remove it"
        )


def _swap(staged: Path, out_dir: Path) -> None:
    """Put the finished folder in place by renames; nobody ever sees half of one in it."""
    old = _old(out_dir)
    if out_dir.exists():
        out_dir.rename(old)
    staged.rename(out_dir)
    shutil.rmtree(old, ignore_errors=True)


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"bundle {path} has no readable {name} ({error.strerror}); train or copy the bundle again"
        ) from error


def _read_checked(path: Path, name: str, entry: FileEntry) -> bytes:
    data = _read(path, name)
    if digest_of(data) != entry.sha256:
        raise BundleError(
            f"{path / name} has {digest_of(data)} ({len(data)} bytes), "
            f"{MANIFEST} expects {entry.sha256} ({entry.bytes} bytes); "
            "the file was changed or damaged: train or copy the bundle again"
        )
    return data


def _check_parts(path: Path, contents: Mapping[str, bytes], contract: Contract) -> None:
    """The model and the tokenizer are the contract's own."""
    try:
        exported = read_metadata(contents[MODEL]).get(CONTRACT_DIGEST)
    except OnnxMetadataError as error:
        raise BundleError(f"{path / MODEL} is not an ONNX file: {error}") from error
    if exported != contract.digest:
        raise BundleError(
            f"{path / MODEL} was exported for contract {exported}, "
            f"the contract's digest is {contract.digest}; export again"
        )
    expected = contract.caption.tokenizer_sha256 if contract.caption else None
    tokenizer = contents.get(TOKENIZER)
    actual = None if tokenizer is None else hashlib.sha256(tokenizer).hexdigest()
    if actual != expected:
        raise BundleError(
            f"{path / TOKENIZER} has sha256 {actual}, the contract's caption field needs {expected}; "
            "give the tokenizer.json that the contract was made with (none for a contract without captions)"
        )


def digest_of(data: bytes) -> str:
    """The bytes' sha256 as bundles write it, `sha256:` before its hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
