"""Which of the lock's entries an image installs, with their digests, and what is not in the lock.

`python locked.py requirements.lock plan.json --locked locked.txt --rest rest.txt`, where plan.json is the report of
`pip install --dry-run`; `--without NAME` leaves a planned package out; `--names setuptools wheel` instead of a plan
takes these alone. The standard library is enough to run this.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def entries(lock: str) -> dict[str, str]:
    """The lock's entries by canonical name, each with its continued lines of digests."""
    found = re.findall(r"^\S.*(?:\n[ \t]+.*)*", lock, re.MULTILINE)
    return {canonical(re.split(r"[=\[ ]", entry)[0]): entry for entry in found if not entry.startswith("#")}


def canonical(name: str) -> str:
    """A distribution's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def divide(lock: str, planned: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Of what is planned (versions by name): the lock's entries, and pinned requirements that the lock does not have.

    Raises:
        ValueError: the plan has another version than the lock.
    """
    known = entries(lock)
    locked, rest = [], []
    for name, version in sorted(planned.items()):
        entry = known.get(canonical(name))
        if entry is None:
            rest.append(f"{name}=={version}")
        elif not version or entry.split()[0].endswith(f"=={version}"):
            locked.append(entry)
        else:
            raise ValueError(f"{name} {version} is planned, and the lock has {entry.split()[0]}: make lock")
    return locked, rest


def versions(report: str, without: Iterable[str] = ()) -> dict[str, str]:
    """Versions by name of a report that pip wrote, less packages that their users do not need."""
    planned = {each["metadata"]["name"]: each["metadata"]["version"] for each in json.loads(report)["install"]}
    return {name: version for name, version in planned.items() if canonical(name) not in without}


def _write(path: Path | None, lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    if path is None:
        sys.stdout.write(text)
    else:
        path.write_text(text)


def main(argv: Sequence[str]) -> int:
    """Write both lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    parser.add_argument("plan", type=Path, nargs="?")
    parser.add_argument("--names", nargs="+", default=[])
    parser.add_argument("--without", nargs="+", default=[])
    parser.add_argument("--locked", type=Path)
    parser.add_argument("--rest", type=Path)
    given = parser.parse_args(argv)
    planned = versions(given.plan.read_text(), given.without) if given.plan else dict.fromkeys(given.names, "")
    try:
        locked, rest = divide(given.lock.read_text(), planned)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _write(given.locked, locked)
    if given.plan:
        _write(given.rest, rest)
    elif rest:
        sys.stderr.write(f"the lock does not have {', '.join(rest)}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
