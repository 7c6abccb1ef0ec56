"""A checkpoint is pinned by the hub's commit and its weights' digest; other weights are refused."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.captioner.errors import CaptionerLoadError
from models.captioner.pin import Pin, pin
from models.captioner.presets import TINY, preset
from models.captioner.source import list_digest, weights_digest
from serving.captioner.loader import loader
from serving.captioner.settings import CaptionerSettings, SettingsError

COMMIT = "b" * 40
FILES = {"model-00001-of-00002.safetensors": "1" * 64, "model-00002-of-00002.safetensors": "2" * 64}


class Hub(BaseHTTPRequestHandler):
    """What the hub says of a model: `large` has its weights in LFS, `small` in git."""

    def do_GET(self) -> None:
        name = self.path.split("?")[0]
        siblings: list[dict[str, Any]] = [{"rfilename": "config.json", "size": 3}]
        for file, digest in FILES.items():
            lfs = {"lfs": {"sha256": digest, "size": 10, "pointerSize": 1}} if "large" in name else {}
            siblings.append({"rfilename": file, "size": 10, **lfs})
        known = name in (f"/api/models/o/{model}{at}" for model in ("large", "small") for at in ("", "/revision/v1"))
        body = json.dumps({"id": "o/large", "sha": COMMIT, "siblings": siblings} if known else {"error": "no"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("revision", [None, "v1"])
def test_the_hub_tells_commit_and_digest_without_a_byte_of_the_weights(hub: str, revision: str | None) -> None:
    lines = "".join(f"{digest}  {name}\n" for name, digest in FILES.items())
    assert pin("o/large", revision, hub) == Pin(COMMIT, hashlib.sha256(lines.encode()).hexdigest())


def test_what_the_hub_cannot_tell_is_no_pin(hub: str) -> None:
    with pytest.raises(CaptionerLoadError, match=r"o/small: the hub tells no digest of its \*.safetensors"):
        pin("o/small", None, hub)
    with pytest.raises(CaptionerLoadError, match="o/other: the hub does not answer for it"):
        pin("o/other", None, hub)


def test_a_folder_is_pinned_by_its_bytes() -> None:
    assert pin("tiny", None) == Pin(None, weights_digest(TINY))


def test_other_weights_than_the_pinned_are_refused_by_both_digests(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "mine")
    pinned = weights_digest(folder)
    settings = CaptionerSettings(preset=str(folder), weights=pinned)  # type: ignore[call-arg]
    assert loader(settings)().provenance.captioner.endswith(pinned[:12])
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    sums = (folder / "SHA256SUMS").read_text()
    old, new = (
        hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (TINY / "model.safetensors", folder / "model.safetensors")
    )
    (folder / "SHA256SUMS").write_text(sums.replace(old, new))  # whoever changes weights makes them consistent
    with pytest.raises(CaptionerLoadError) as refused:
        loader(settings)()
    assert f"its weights are {weights_digest(folder)}, and {pinned} was pinned" in str(refused.value)


def test_a_blob_of_the_hubs_cache_is_read_where_weights_are_pinned(tmp_path: Path) -> None:
    """Its name says what it should be, and whoever can write there can lie."""
    named = "3" * 64
    (tmp_path / named).write_bytes(b"other bytes")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(tmp_path / named)
    believed = weights_digest(folder)
    assert believed == list_digest({"model.safetensors": named})
    with pytest.raises(CaptionerLoadError, match="was pinned"):
        weights_digest(folder, believed)


def test_a_revision_is_for_the_hub_alone() -> None:
    with pytest.raises(SettingsError, match="has no revisions; leave it empty"):
        loader(CaptionerSettings(preset="tiny", revision=COMMIT))  # type: ignore[call-arg]
    chosen = loader(CaptionerSettings(preset="llava-7b", revision=COMMIT, weights="4" * 64))  # type: ignore[call-arg]
    (given,) = chosen.args  # type: ignore[attr-defined]
    assert (given.revision, given.weights, given.name) == (COMMIT, "4" * 64, preset("llava-7b").name)
