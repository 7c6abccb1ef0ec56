"""What an auditor found, and the written list of what is accepted."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

ACCEPTED = Path(__file__).with_name("accepted.yaml")


@dataclass(frozen=True, order=True)
class Finding:
    """A failed check. `at` is Kind.namespace.name, or a file; `where` the profile that it was rendered from."""

    check: str
    at: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.check} at {self.at} ({self.where}): {self.what}"


class Acceptance(BaseModel):
    """Findings that are known, where, and why they stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    check: str
    at: tuple[str, ...] = Field(min_length=1)
    reason: str = Field(min_length=20)

    def covers(self, finding: Finding) -> list[str]:
        """Those of its patterns that the finding matches."""
        return [each for each in self.at if self.check == finding.check and fnmatchcase(finding.at, each)]


def accepted(path: Path = ACCEPTED) -> list[Acceptance]:
    """The written list. Raises pydantic.ValidationError for an entry without a place or a reason."""
    return TypeAdapter(list[Acceptance]).validate_python(yaml.safe_load(path.read_text()))


def judge(found: Iterable[Finding], known: Sequence[Acceptance]) -> tuple[list[Finding], list[str]]:
    """Findings that nobody accepted, and acceptances (check and pattern) that nothing was found for."""
    new, used = [], set()
    for each in sorted(found):
        covering = [(entry.check, pattern) for entry in known for pattern in entry.covers(each)]
        used.update(covering)
        if not covering:
            new.append(each)
    return new, [f"{e.check} at {pattern}" for e in known for pattern in e.at if (e.check, pattern) not in used]


def of_checkov(output: str) -> tuple[int, list[Finding]]:
    """How many checks passed, and the findings, of checkov's JSON: one report, or one per framework.

    Raises:
        ValueError: a file could not be parsed, so nothing was checked in it.
    """
    answer: Any = json.loads(output)
    passed, found = 0, []
    for report in answer if isinstance(answer, list) else [answer]:
        passed += report["summary"]["passed"]
        if broken := report["results"].get("parsing_errors"):
            raise ValueError(f"checkov could not read {', '.join(broken)}")
        for each in report["results"]["failed_checks"]:
            place = each["file_path"].removeprefix("/").removesuffix(".yaml")
            found.append(Finding(each["check_id"], each["resource"], each["check_name"], place))
    return passed, found
