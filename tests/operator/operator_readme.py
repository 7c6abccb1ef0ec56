"""What the operator's README promises, read from its tables."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "serving" / "rollout" / "operator" / "README.md"


def rules() -> set[tuple[str, str, str]]:
    """Group, resource and verb of every row of the README's table, and of its sentence about Leases."""
    text = README.read_text()
    found = set()
    for group, resources, verbs in re.findall(
        r"^\| ([a-z.]+|\"\") \| ([a-z/, ]+) \| ([a-z, ]+) \|", text, re.MULTILINE
    ):
        if group == "argument":
            continue
        name = "" if group == '""' else group
        found |= {(name, each, verb) for each in resources.split(", ") for verb in verbs.split(", ")}
    assert len(found) > 20, found
    leases = re.search(r"coordination\.k8s\.io `leases`: ([a-z, ]+)", text)
    assert leases is not None
    return found | {("coordination.k8s.io", "leases", verb) for verb in leases[1].split(", ")}
