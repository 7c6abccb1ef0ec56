"""What a job keeps of one run in its work folder, so that the same command goes on after any end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.bundle import Bundle, BundleError, read_bundle
from models.files import write_atomic
from training.job_inputs import digest_of
from training.lift import LiftReport
from training.run import ABLATION, RANKER

_NAMES = (RANKER, ABLATION)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`<work>/runs/<digest of what decides the run>`: other inputs or other code make another run.

    Attributes:
        created: when the run first began, ISO 8601; the bundles' manifests carry it, and are known by it.
        bundles: where the bundles of this run go.
    """

    path: Path
    created: str
    bundles: Path

    @classmethod
    def open(cls, work: Path, identity: Mapping[str, Any], now: str, bundles: Path | None) -> RunFolder:
        """The run's folder, made if it is new. `bundles` lie in it unless a folder is given."""
        path = work / "runs" / digest_of(identity)
        note = path / "run.json"
        if not note.exists():
            document = {"created": now, "identity": identity}
            write_atomic(note, json.dumps(document, indent=2, sort_keys=True).encode() + b"\n")
        created = json.loads(note.read_bytes())["created"]
        return cls(path, created, bundles or path / "bundles")

    @property
    def checkpoints(self) -> Path:
        """For the state of the training runs."""
        return self.path / "checkpoints"

    def forget_checkpoints(self) -> None:
        """Remove them: the run is done and its bundles are where they belong."""
        for each in self.checkpoints.glob("*.safetensors"):
            each.unlink()

    def written_bundles(self) -> dict[str, Bundle] | None:
        """Both bundles, if an earlier process of this run has written them whole."""
        try:
            found = {name: read_bundle(self.bundles / name) for name in _NAMES}
        except BundleError:
            return None
        return found if all(each.manifest.created == self.created for each in found.values()) else None

    def report(self) -> LiftReport | None:
        """The lift, if an earlier process of this run has measured it."""
        try:
            return LiftReport.model_validate_json((self.path / "lift.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def keep_report(self, report: LiftReport) -> None:
        """Write lift.json."""
        self.copy_report(report, self.path)

    @staticmethod
    def copy_report(report: LiftReport, folder: Path) -> None:
        """Write `folder`/lift.json."""
        write_atomic(folder / "lift.json", report.model_dump_json(indent=2).encode() + b"\n")
