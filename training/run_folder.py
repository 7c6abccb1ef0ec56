"""What a job keeps of one run in its work folder, so that the same command goes on after any end.

Every file has its sha256 beside it (`<file>.sha256`, which `sha256sum --check` reads): one that is not as it was
written is made again, and never published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle import Bundle, BundleError, read_bundle
from models.files import write_atomic
from training.checkpoint_file import forget, set_aside
from training.job_inputs import digest_of
from training.lift import LiftReport
from training.run import ABLATION, RANKER

_NAMES = (RANKER, ABLATION)
_BUNDLES, _REPORT = "bundles.json", "lift.json"


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
        if note.exists() and not _seal(note).exists():  # an earlier version of the project wrote it
            _keep(note, note.read_bytes())
        data = _whole(note)
        if data is None:
            data = json.dumps({"created": now, "identity": identity}, indent=2, sort_keys=True).encode() + b"\n"
            _keep(note, data)
        return cls(path, json.loads(data)["created"], bundles or path / "bundles")

    @property
    def checkpoints(self) -> Path:
        """For the state of the training runs."""
        return self.path / "checkpoints"

    def forget_checkpoints(self) -> None:
        """Remove them: the run is done and its bundles are where they belong."""
        forget(self.checkpoints)

    def warnings(self) -> list[str]:
        """What whoever reads the job's result should know of this run."""
        return [f"a damaged checkpoint was set aside as {file}" for file in set_aside(self.checkpoints)]

    def written_bundles(self) -> dict[str, Bundle] | None:
        """Both bundles, if an earlier process of this run has written them whole."""
        try:
            found = {name: read_bundle(self.bundles / name) for name in _NAMES}
        except BundleError:
            return None
        ids = _whole(self.path / _BUNDLES)
        if ids is None or json.loads(ids) != {name: each.id for name, each in found.items()}:
            return None
        return found

    def keep_bundles(self, bundles: Mapping[str, Bundle]) -> None:
        """Note which bundles this run has written."""
        _keep(self.path / _BUNDLES, json.dumps({name: each.id for name, each in bundles.items()}).encode() + b"\n")

    def report(self) -> LiftReport | None:
        """The lift, if an earlier process of this run has measured it."""
        data = _whole(self.path / _REPORT)
        return None if data is None else LiftReport.model_validate_json(data)

    def keep_report(self, report: LiftReport) -> None:
        """Write lift.json."""
        _keep(self.path / _REPORT, _text(report))

    @staticmethod
    def copy_report(report: LiftReport, folder: Path) -> None:
        """Write `folder`/lift.json."""
        write_atomic(folder / _REPORT, _text(report))


def _text(report: LiftReport) -> bytes:
    return report.model_dump_json(indent=2).encode() + b"\n"


def _keep(path: Path, data: bytes) -> None:
    """Write a file and its checksum, this one first: a kill between the two leaves a file that is made again."""
    write_atomic(_seal(path), f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode())
    write_atomic(path, data)


def _whole(path: Path) -> bytes | None:
    """The content, if it is there as it was written."""
    try:
        data, seal = path.read_bytes(), _seal(path).read_bytes()
    except FileNotFoundError:
        return None
    return data if seal == f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode() else None


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
