"""A preparation that may be cut off at any moment: the next one takes what it finished, and makes nothing anew."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models.bundle import Bundle, BundleError, read_bundle
from models.files import write_atomic
from serving.stack.layout import Layout
from serving.stack.services import ABLATION, RANKER, bundle_path
from training.recipe import Recipe
from training.revision import git_revision


@dataclass(frozen=True)
class Attempt:
    """One preparation, from its beginning to the end of the last one that went on with it.

    Attributes:
        created: when it first began, ISO 8601; its bundles carry that, and are known by it.
        checkpoints: where its training runs are kept.
        resumed: an earlier command began it; captions of its items count.
    """

    layout: Layout
    created: str
    checkpoints: Path
    resumed: bool

    @classmethod
    def begin(cls, layout: Layout, recipe: Recipe) -> "Attempt":
        """Go on with the one that was cut off; its training counts only for the same recipe and the same code."""
        key = hashlib.sha256(f"{recipe.model_dump_json()} {git_revision()}".encode()).hexdigest()
        before = _read(layout.unfinished)
        resumed = before is not None
        if before is None or before.get("key") != key:
            shutil.rmtree(layout.checkpoints, ignore_errors=True)
            before = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "key": key}
            write_atomic(layout.unfinished, json.dumps(before, indent=2).encode() + b"\n")
        return cls(layout, before["created"], layout.checkpoints, resumed)

    def bundles(self, data_digest: str) -> dict[str, Bundle] | None:
        """Both bundles, if this attempt has written them."""
        try:
            found = {name: read_bundle(bundle_path(self.layout, name)) for name in (RANKER, ABLATION)}
        except BundleError:
            return None
        ours = (self.created, data_digest)
        made = {(bundle.manifest.created, bundle.manifest.data_digest) for bundle in found.values()}
        return found if made == {ours} else None

    def finish(self) -> None:
        """All of it is done."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.layout.unfinished.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, str] | None:
    """What was noted; a damaged note is one of an attempt of which only files that speak for themselves count."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("created"), str) else {}
