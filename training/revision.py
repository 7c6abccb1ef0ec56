"""Which code trains: what a bundle's manifest names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT = "SIGHTLINE_GIT_REVISION"


def image_revision(environment: Mapping[str, str] = os.environ) -> str | None:
    """What the image says in SIGHTLINE_GIT_REVISION; None outside of images."""
    return environment.get(ENVIRONMENT) or None


def git_revision(environment: Mapping[str, str] = os.environ) -> str:
    """What the image says in SIGHTLINE_GIT_REVISION, else this checkout's commit (marked if changed), or `unknown`."""
    if named := image_revision(environment):
        return named
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
