"""What one role's image installs, one requirement a line: `python requirements.py pyproject.toml captioner`.

The project's own dependencies and those of the extras named; the standard library is enough to run this.
"""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def requirements(project: Mapping[str, Any], extras: Sequence[str]) -> list[str]:
    """Requirements of the extras, after the project's own.

    Raises:
        KeyError: an extra that the project does not have.
    """
    return [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]


def main(argv: Sequence[str]) -> int:
    """Print them; 2 for an extra that does not exist."""
    path, *extras = argv
    project = tomllib.loads(Path(path).read_text("utf-8"))["project"]
    try:
        lines = requirements(project, extras)
    except KeyError as error:
        sys.stderr.write(f"{path} has no extra {error}; it has {', '.join(project['optional-dependencies'])}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
