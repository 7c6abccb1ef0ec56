"""Known vulnerabilities of what the lock pins, by pip-audit, where it reaches its service."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Advisories:
    """What pip-audit could say: how many packages it looked up, those it could not, and what is known of the others."""

    asked: int
    unknown: tuple[str, ...]
    known: tuple[str, ...]


def flags(lock: Path) -> list[str]:
    """Arguments of pip-audit for a lock; nothing is resolved or installed."""
    pinned = ["--requirement", str(lock.resolve()), "--disable-pip", "--require-hashes"]
    return [*pinned, "--format", "json", "--progress-spinner", "off", "--timeout", "10"]


def read(output: str) -> Advisories:
    """pip-audit's JSON. A package that its service does not answer for is counted as unknown, never as sound."""
    asked, unknown, known = 0, [], []
    for each in json.loads(output)["dependencies"]:
        if "skip_reason" in each:
            unknown.append(each["name"])
            continue
        asked += 1
        for one in each["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            known.append(f"{one['id']} in {each['name']} {each['version']}, mended in {fixed}")
    return Advisories(asked, tuple(unknown), tuple(known))
