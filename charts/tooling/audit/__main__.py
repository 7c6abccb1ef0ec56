"""`make audit`: ruff's security rules on the code, pip-audit on the lock, checkov on Dockerfile and rendered profiles.

Exit code 1 on a finding that is not in pyproject.toml's or accepted.yaml's list, 2 when a tool could not do its work.
pip-audit needs its service: where that does not answer, this says so and goes on.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from charts.tooling.audit.advisories import flags, read
from charts.tooling.audit.environment import ToolError, ask, installed
from charts.tooling.audit.findings import accepted, judge, of_checkov
from charts.tooling.audit.profiles import write

ROOT = Path(__file__).parents[3]
_CHECKOV = ("--skip-download", "--quiet", "--compact", "--output", "json")


def code() -> list[str]:
    """Findings of ruff's security rules, outside of the lists in pyproject.toml."""
    # Without --select, which would switch on again what pyproject.toml ignores.
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--quiet", "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode not in (0, 1):
        raise ToolError(f"ruff ended with {done.returncode}: {done.stderr.strip()}")
    found = [line for line in done.stdout.splitlines() if re.search(r": S\d{3} ", line)]
    _say(f"code: {len(found)} new findings of ruff's security rules")
    return found


def packages(programs: Path) -> list[str]:
    """Known vulnerabilities of the lock."""
    try:
        answer = read(ask(programs / "pip-audit", *flags(ROOT / "requirements.lock")))
    except (ToolError, ValueError) as error:
        _say(f"packages: not audited, pip-audit did not reach its service ({' '.join(str(error).split())[-200:]})")
        return []
    if answer.asked == 0:
        _say(f"packages: not audited, pip-audit's service knows none of the lock's {len(answer.unknown)} packages")
        return []
    _say(f"packages: {answer.asked} looked up, {len(answer.known)} known vulnerabilities")
    if answer.unknown:
        _say(f"packages: no answer for {', '.join(answer.unknown)}")
    return list(answer.known)


def manifests(programs: Path) -> list[str]:
    """checkov on Dockerfile and profiles, less what accepted.yaml has; and that file's lines without a finding."""
    with tempfile.TemporaryDirectory(prefix="sightline-profiles-") as name:
        folder = Path(name)
        profiles = write(folder)
        kubernetes = of_checkov(ask(programs / "checkov", "--directory", name, "--framework", "kubernetes", *_CHECKOV))
        dockerfile = str(ROOT / "serving" / "Dockerfile")
        image = of_checkov(ask(programs / "checkov", "--file", dockerfile, "--framework", "dockerfile", *_CHECKOV))
    found = [*kubernetes[1], *image[1]]
    new, unused = judge(found, accepted())
    _say(
        f"manifests: {len(profiles)} profiles and the Dockerfile, {kubernetes[0] + image[0]} checks passed, "
        f"{len(found) - len(new)} findings accepted, {len(new)} new"
    )
    return [
        *map(str, new),
        *(f"{each}: accepted and not found any more; take it out of accepted.yaml" for each in unused),
    ]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run all three; print what is new."""
    try:
        found = code()
        programs = installed()
        found += [*packages(programs), *manifests(programs)]
    except (ToolError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stderr.write("".join(f"{each}\n" for each in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
