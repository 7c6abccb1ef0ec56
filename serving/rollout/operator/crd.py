"""The CustomResourceDefinition of Experiments, made from the classes that read them.

python -m serving.rollout.operator.crd charts/sightline/files/experiments-crd.yaml
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from serving.rollout.experiment.spec import GROUP, KIND, PLURAL, VERSION, ExperimentSpec
from serving.rollout.experiment.state import Phase, State
from serving.rollout.operator.rules import with_rules
from serving.rollout.operator.structural import Schema, structural

HEAD = "# Written by `python -m serving.rollout.operator.crd`; a test compares. Change the classes, not this file.\n"
_NAMED = {"secondaryMetrics": ["name"], "guardrails": ["name"]}
"""Lists in which a name occurs once."""
_COLUMNS = (
    ("Phase", "string", ".status.phase", "Step of its life", 0),
    ("Share", "string", ".status.share", "Users in the candidate", 0),
    ("Lift", "string", ".status.lift", "Primary metric, candidate over stable", 0),
    ("Interval", "string", ".status.interval", "The lift's interval", 0),
    ("Verdict", "string", ".status.verdict", "What the primary metric says", 0),
    ("Age", "date", ".metadata.creationTimestamp", "", 0),
    ("Users", "string", ".status.users", "Users counted: stable / candidate", 1),
    ("Ratio p", "string", ".status.ratioP", "Chance of arms' sizes as uneven as these", 1),
    ("Reason", "string", ".status.reason", "Why it is where it is", 1),
)


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["exp"],
                "categories": ["sightline"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _whole()},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*each) for each in _COLUMNS],
                }
            ],
        },
    }


def text() -> str:
    """The definition as YAML."""
    return HEAD + yaml.safe_dump(definition(), sort_keys=False, allow_unicode=True, width=120)


def _whole() -> Schema:
    spec = structural(ExperimentSpec, bounded=True)
    for name, keys in _NAMED.items():
        spec["properties"][name] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
    return with_rules(
        {
            "type": "object",
            "description": "A canary rollout that ends in an online metric test.",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": spec,
                "status": _status(),
            },
        }
    )


def _status() -> Schema:
    shown = {each[2].removeprefix(".status."): each[3] for each in _COLUMNS if each[2].startswith(".status.")}
    shown |= {"message": "The newest decision in a sentence"}
    return {
        "type": "object",
        "description": "Written by the operator.",
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64", "description": "Of the spec that was read"},
            **{name: {"type": "string", "description": what} for name, what in shown.items()},
            "phase": {"type": "string", "description": shown["phase"], "enum": [each.value for each in Phase]},
            "conditions": _conditions(),
            "state": structural(State),
        },
    }


def _conditions() -> Schema:
    text = {"type": "string"}
    return {
        "type": "array",
        "description": "Ready, Progressing, Stalled, Reconciled, Verdict",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {**text, "maxLength": 316},
                "status": {**text, "enum": ["True", "False", "Unknown"]},
                "reason": {**text, "minLength": 1, "maxLength": 1024},
                "message": {**text, "maxLength": 32768},
                "lastTransitionTime": {**text, "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            },
        },
    }


def _column(name: str, kind: str, path: str, description: str, priority: int) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        made["description"] = description
    return {**made, "priority": priority} if priority else made


def main(argv: Sequence[str]) -> int:
    """Write the definition to the file named, or print it."""
    if len(argv) > 1 or any(each.startswith("-") for each in argv):
        sys.stderr.write("usage: python -m serving.rollout.operator.crd [FILE]\n")
        return 2
    if not argv:
        sys.stdout.write(text())
        return 0
    file = Path(argv[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.write_text(text(), "utf-8")
    unfinished.replace(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
