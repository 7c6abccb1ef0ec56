"""The file that `sightline experiment start` takes: an Experiment, or only its spec."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.yaml_text import YamlTextError, yaml_documents
from serving.cli.experiment_faults import ExperimentFileError, Fault, faults_of, shown
from serving.cluster.experiments import API_VERSION, KIND
from serving.rollout.experiment.spec import ExperimentSpec

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
_RESOURCE = ("apiVersion", "kind", "metadata", "spec")


@dataclass(frozen=True)
class ExperimentFile:
    """A valid experiment. `namespace` None: the file names none."""

    name: str
    namespace: str | None
    spec: ExperimentSpec
    metadata: dict[str, Any]

    def resource(self, namespace: str) -> dict[str, Any]:
        """The object to create: what was written in the file, in the resource's own spelling."""
        written = self.spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        kept = {key: self.metadata[key] for key in ("labels", "annotations") if self.metadata.get(key)}
        metadata = {**kept, "name": self.name, "namespace": namespace}
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": written}


def read(file: Path, name: str | None = None) -> ExperimentFile:
    """Read and check all of it.

    Args:
        name: in place of the file's; a file with only a spec needs it, or is called by the file's own name.

    Raises:
        ExperimentFileError: with every fault.
    """
    document = _document(file)
    whole = "spec" in document or "kind" in document
    faults = _outside(document) if whole else []
    metadata = document.get("metadata") if whole else {}
    metadata = metadata if isinstance(metadata, dict) else {}
    called = name or metadata.get("name") or ("" if whole else file.stem)
    if not _NAME.fullmatch(str(called)):
        expected = "at most 31 lower-case letters, digits and dashes, a letter first"
        faults.append(Fault("metadata.name", shown(called), expected, "give such a name, or --name"))
    try:
        spec = ExperimentSpec.model_validate(document.get("spec") if whole else document)
    except ValidationError as error:
        raise ExperimentFileError(str(file), [*faults, *faults_of(error)]) from error
    if faults:
        raise ExperimentFileError(str(file), faults)
    return ExperimentFile(str(called), metadata.get("namespace"), spec, metadata)


def _outside(document: dict[str, Any]) -> list[Fault]:
    """Faults around the spec."""
    found = []
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(field) != wanted:
            found.append(Fault(field, shown(document.get(field)), wanted, f"write {field}: {wanted}"))
    for field in sorted(set(document) - {*_RESOURCE, "status"}):
        found.append(Fault(field, shown(document[field]), f"one of {', '.join(_RESOURCE)}", "move it into spec"))
    if not isinstance(document.get("metadata", {}), dict):
        found.append(Fault("metadata", shown(document["metadata"]), "a mapping with name", "write metadata: {name: …}"))
    return found


def _document(file: Path) -> dict[str, Any]:
    def refused(value: str, expected: str, fix: str) -> ExperimentFileError:
        return ExperimentFileError(str(file), [Fault("file", value, expected, fix)])

    try:
        documents = yaml_documents(file.read_text("utf-8"))
    except OSError as error:
        raise refused(error.strerror or "unreadable", "a YAML file that can be read", "give another path") from error
    except (UnicodeDecodeError, YamlTextError) as error:
        raise refused(str(error), "YAML in UTF-8", "correct it at that place") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise refused(f"{len(documents)} documents", "one mapping: an Experiment, or its spec", "split the file")
    return documents[0]
