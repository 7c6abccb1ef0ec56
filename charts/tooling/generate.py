"""Writes what is generated from the chart, or says what is out of date.

python -m charts.tooling.generate            write values.schema.json, README.md, manifests/, snapshots
                                             and the table of ports in SECURITY.md
python -m charts.tooling.generate --check    write nothing; exit 1 and name the files that would change
"""

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from charts.tooling.manifests import MANIFESTS, manifest_files
from charts.tooling.ports import SECURITY, security_text
from charts.tooling.readme import readme_text
from charts.tooling.schema import schema_text
from charts.tooling.snapshots import SNAPSHOTS, snapshot_files
from charts.tooling.values import CHART

ROOT = CHART.parents[1]


def generated() -> dict[Path, str]:
    """Text of every generated file. The schema is written first: helm reads it when it renders the manifests."""
    return {CHART / "values.schema.json": schema_text(), CHART / "README.md": readme_text()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m charts.tooling.generate", allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    check = parser.parse_args(arguments).check
    stale = _settle(generated(), check)
    rendered = manifest_files() | snapshot_files() | {SECURITY: security_text()}
    stale += [*_settle(rendered, check), *_leftovers(rendered, check)]
    if check and stale:
        sys.stderr.write("".join(stale) + "Out of date: run `make chart` and commit what it writes.\n")
        return 1
    return 0


def _settle(files: Mapping[Path, str], check: bool) -> list[str]:
    """Write the files that differ, or (check) the beginning of each one's difference."""
    changes = []
    for path, text in files.items():
        old = path.read_text() if path.is_file() else ""
        if old != text:
            changes.append(_difference(path, old, text))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    return changes


def _difference(path: Path, old: str, new: str) -> str:
    name = str(path.relative_to(ROOT))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, f"{name} (generated)", lineterm="", n=1)
    return "".join(f"{line}\n" for line in [*lines][:20])


def _leftovers(wanted: Mapping[Path, str], check: bool) -> list[str]:
    """Files in generated folders that nothing generates any more."""
    folders = (*MANIFESTS, SNAPSHOTS)
    extra = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() and path not in wanted]
    if not check:
        for path in extra:
            path.unlink()
    return [f"{path.relative_to(ROOT)}: nothing generates it\n" for path in extra]


if __name__ == "__main__":
    sys.exit(main())
