"""Where the stack keeps its files on one machine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The state folder (`.sightline` by default). Nothing outside it is written; deleting it loses no source."""

    root: Path

    @property
    def data(self) -> Path:
        """Fetched interactions (git-ignored: their licence forbids redistribution)."""
        return self.root / "data"

    @property
    def posters(self) -> Path:
        """One rendered PNG per film."""
        return self.root / "posters"

    @property
    def store(self) -> Path:
        """The LMDB item store."""
        return self.root / "store"

    @property
    def bundles(self) -> Path:
        """One folder per trained ranker."""
        return self.root / "bundles"

    @property
    def triton(self) -> Path:
        """Triton's model repository."""
        return self.root / "triton"

    @property
    def run(self) -> Path:
        """Lock, state file and the servers' working folders."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log file per server."""
        return self.root / "logs"

    @property
    def demo(self) -> Path:
        """The demo's page and report."""
        return self.root / "demo"

    def log(self, service: str) -> Path:
        """The log file of a server."""
        return self.logs / f"{service}.log"
