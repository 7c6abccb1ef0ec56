"""`sightline experiment report`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.yaml_text import YamlTextError, yaml_documents
from serving.cli.context import of
from serving.cli.job import KubeContext, Namespace
from serving.cli.local_path import path_option
from serving.tls import believed

if TYPE_CHECKING:
    from serving.rollout.experiment.evidence import Evidence
    from serving.rollout.report.resource import Resource


def report(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The experiment's name; left out with --file.")] = None,
    file: Annotated[
        Path | None, path_option("--file", help="An Experiment saved by `kubectl get experiment -o yaml`.")
    ] = None,
    out: Annotated[Path | None, path_option("--out", help="Folder; experiment-NAME if left out.")] = None,
    collector: Annotated[
        str | None,
        typer.Option(help="The collector's base URL: adds days of the week and novelty (kubectl port-forward)."),
    ] = None,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Write the report: one HTML file, its plots as PNG, and the JSON document that both show."""
    from serving.rollout.report.build import build
    from serving.rollout.report.folder import write

    if (name is None) == (file is None):
        raise typer.BadParameter("give an experiment's name, or --file with a saved one, one of the two")
    found = _fetched(name, namespace, kube_context) if name is not None else _saved(file or Path())
    evidence = _asked(found, collector) if collector else None
    made = build(found, datetime.now(UTC), evidence)
    folder = out or Path(f"experiment-{found.name}")
    files = write(made, folder)
    document = {
        "folder": str(folder),
        "files": [str(each) for each in files],
        "report": made.model_dump(mode="json", by_alias=True),
    }
    of(context).output.answer(document)
    if not of(context).output.json:
        out_console = of(context).output.out
        out_console.print(made.verdict.headline, style="bold", markup=False)
        out_console.print(f"{files[0]} ({len(files)} files)", markup=False)


def _fetched(name: str, namespace: str | None, kube_context: str | None) -> Resource:
    from serving.cluster.connection import connect
    from serving.cluster.experiments import read as fetch
    from serving.rollout.report.resource import read

    cluster = connect(kube_context, namespace)
    return read(fetch(cluster, name, cluster.namespace))


def _saved(file: Path) -> Resource:
    """Raises ResourceError."""
    from serving.rollout.report.resource import ResourceError, read

    try:
        documents = yaml_documents(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YamlTextError) as error:
        raise ResourceError(f"{file}: cannot be read as YAML ({error}); save it with kubectl get -o yaml") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ResourceError(f"{file}: expected one Experiment; save it with `kubectl get experiment NAME -o yaml`")
    return read(documents[0])


def _asked(found: Resource, url: str) -> Evidence:
    """What the verdict's look asked for, with its days. Raises EvidenceError."""
    from serving.rollout.evidence.collector import TOKEN_VARIABLE, CollectorEvidence
    from serving.rollout.experiment.evidence import EvidenceError
    from serving.rollout.experiment.observe import evidence_query
    from serving.rollout.report.sentence import deciding

    state = found.state
    look = deciding(state) if state is not None else None
    if state is None or look is None:
        raise EvidenceError(f"Experiment {found.name} has had no look at its metrics; leave --collector out")
    spec = state.started or found.spec
    source = CollectorEvidence(url, token=os.environ.get(TOKEN_VARIABLE), verify=believed(os.environ))
    try:
        return source.evidence(evidence_query(found.name, found.uid, spec, state, look.at))
    finally:
        source.close()
