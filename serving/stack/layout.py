"""Where the stack keeps its files on one machine."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

DEFAULT_ROOT = Path(".sightline")


@dataclass(frozen=True)
class Layout:
    """The state folder (`.sightline` by default). Nothing outside it is written; deleting it loses no source.

    The demo's store, captions and models lie in it, those of a team's own data in `own/`: neither overwrites the other.
    """

    root: Path
    home: str = ""

    def command(self, *words: str) -> str:
        """A command of this program on this state folder, as a person types it."""
        root = () if self.root == DEFAULT_ROOT.resolve() else ("--root", str(self.root))
        return shlex.join(["sightline", *root, *words])

    @property
    def own(self) -> "Layout":
        """The places of a team's own data."""
        return replace(self, home="own")

    @property
    def demonstration(self) -> "Layout":
        """The places of the demo."""
        return replace(self, home="")

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
        return self.root / self.home / "store"

    @property
    def captions(self) -> Path:
        """The captions of the items, as a backfill leaves them and training reads them."""
        return self.root / self.home / "captions"

    @property
    def bundles(self) -> Path:
        """One folder per trained ranker."""
        return self.root / self.home / "bundles"

    @property
    def triton(self) -> Path:
        """Triton's model repository."""
        return self.root / self.home / "triton"

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

    @property
    def unfinished(self) -> Path:
        """There while a preparation (captions, training, export) is on its way, or was cut off."""
        return self.root / "unfinished.json"

    @property
    def checkpoints(self) -> Path:
        """Finished and begun training runs of that preparation."""
        return self.run / "training"

    def log(self, service: str) -> Path:
        """The log file of a server."""
        return self.logs / f"{service}.log"
