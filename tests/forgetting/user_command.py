"""The command `sightline user`, as a process of its own: an LMDB folder is open once in a process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

KEY = "a key of thirty-two bytes, no less"
SECRETS = {"SIGHTLINE_PSEUDONYM_KEY": KEY}


def run(*words: str, root: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    where = [] if root is None else ["--root", str(root)]
    command = [sys.executable, "-m", "serving.cli.main", "--json", *where, "user", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean | SECRETS | environ)


def user(*words: str, code: int = 0, root: Path | None = None, **environ: str) -> Any:
    """The document of the answer, after a look at the exit code."""
    done = run(*words, root=root, **environ)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def content(folder: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
