"""Where a checkpoint's files come from, and proof that they are the ones that were written."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import fsspec
from huggingface_hub import snapshot_download

from models.captioner.errors import REBUILD, CaptionerLoadError
from models.captioner.presets import is_hub_id
from models.files import OutsideError, inside

SUMS = "SHA256SUMS"
PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", SUMS)
CACHE = Path.home() / ".cache" / "sightline" / "captioners"


def fetch(source: str, revision: str | None, cache: Path = CACHE) -> Path:
    """The checkpoint's local folder: itself, or a copy of the hub's (in the hub's own cache) or of the object store's.

    Raises:
        CaptionerLoadError: the source does not exist, cannot be reached, or holds no weights.
    """
    if "://" in source:
        return _from_store(source, cache)
    folder = Path(source)
    if folder.is_dir():
        return folder
    if not is_hub_id(source):
        raise CaptionerLoadError(source, "no such folder", f"for the tiny captioner run `{REBUILD}`")
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(PATTERNS)))
    except (OSError, ValueError) as error:
        raise CaptionerLoadError(
            source, f"cannot be fetched from the hub ({error})", "check the id, the revision and the network"
        ) from error


def _from_store(uri: str, cache: Path) -> Path:
    """Copy an object store's folder.

    Its listing (names, sizes, tags) names the copy, so that a changed folder is fetched anew.
    """
    store, root, listing = _listing(uri)
    if not any(path.endswith(".safetensors") for path in listing):
        raise CaptionerLoadError(uri, "holds no *.safetensors", "give the URI of a checkpoint's folder")
    folder = cache / hashlib.sha256(f"{uri}\n{sorted(listing.items())}".encode()).hexdigest()[:24]
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=cache, prefix=".unfinished-"))
    try:
        for path in listing:
            name = path.removeprefix(root).removeprefix("/")
            if not any(fnmatch(name, pattern) for pattern in PATTERNS):
                continue  # as from a hub: no code and no pickles
            target = inside(unfinished, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(path, str(target))
        _place(unfinished, folder)
    except OutsideError as error:
        raise CaptionerLoadError(uri, f"holds {error}", "remove that object, or copy the checkpoint anew") from error
    except OSError as error:
        raise CaptionerLoadError(
            uri, f"cannot be copied ({error})", "check the network and the disk, then retry"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _listing(uri: str) -> tuple[Any, str, dict[str, dict[str, str]]]:
    """The store, the folder's path in it, and its files with what tells one version from another."""
    try:
        store, root = fsspec.url_to_fs(uri)
        found = store.find(root, detail=True)
    except (OSError, ValueError, ImportError) as error:
        raise CaptionerLoadError(
            uri, f"cannot be listed ({error})", "check the URI, the credentials and the network"
        ) from error
    tags = ("size", "ETag", "etag", "mtime", "created")
    return store, root, {path: {tag: str(info[tag]) for tag in tags if tag in info} for path, info in found.items()}


def _place(unfinished: Path, folder: Path) -> None:
    try:
        os.replace(unfinished, folder)
    except OSError:
        if not folder.is_dir():  # another process may have placed the same files first
            raise


def verify(folder: Path, required: bool) -> None:
    """Check every file named in the folder's SHA256SUMS; `required` refuses a folder without one.

    Raises:
        CaptionerLoadError: names the file that is missing or changed and the command that rebuilds it.
    """
    sums = folder / SUMS
    if not sums.is_file():
        if required:
            raise CaptionerLoadError(str(sums), "missing", f"rebuild the weights with `{REBUILD}`")
        return
    for line in sums.read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        try:
            path = inside(folder, name)
        except OutsideError as error:
            raise CaptionerLoadError(str(sums), f"lists {error}", "copy the checkpoint anew") from error
        if not path.is_file():
            raise CaptionerLoadError(str(path), "missing", f"restore it or rebuild it with `{REBUILD}`")
        found = _sha256(path)
        if found != expected:
            raise CaptionerLoadError(
                str(path), f"changed: sha256 {found}, expected {expected}", f"restore it or rebuild it with `{REBUILD}`"
            )


def weights_digest(folder: Path, expected: str | None = None) -> str:
    """sha256 (hex) of the weights' file list: the lines "<sha256>  <name>" of *.safetensors, by name.

    Files of the hub's cache are links to blobs that are named by their sha256, so gigabytes are not read again. They
    are where the digest is `expected`: nobody has compared the name with the bytes.

    Raises:
        CaptionerLoadError: there are no weights, or they are not the expected ones.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CaptionerLoadError(str(folder), "holds no *.safetensors", f"for the tiny captioner run `{REBUILD}`")
    digest = list_digest({path.name: _sha256(path, trusted=expected is None) for path in files})
    if expected not in (None, digest):
        raise CaptionerLoadError(
            str(folder),
            f"its weights are {digest}, and {expected} was pinned",
            "fetch the checkpoint anew, or pin what you have looked at: `sightline models pin-weights SOURCE`",
        )
    return digest


def list_digest(sums: Mapping[str, str]) -> str:
    """The digest of weights by their files' sha256."""
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path, trusted: bool = False) -> str:
    """Of a file's bytes; of one in the hub's cache by its blob's name where that is `trusted`."""
    blob = path.resolve().name
    if trusted and path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
