"""`sightline experiment`: canary rollouts that end in an online metric test."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from serving.cli import experiment_steer
from serving.cli.context import of
from serving.cli.experiment_plan import RankingsPerDay, plan
from serving.cli.experiment_report import report
from serving.cli.experiment_simulate import simulate
from serving.cli.experiment_steer import Name
from serving.cli.job import KubeContext, Namespace
from serving.cli.local_path import path_argument

if TYPE_CHECKING:
    from serving.cli.experiment_file import ExperimentFile
    from serving.cluster.connection import Cluster
    from serving.rollout.report.resource import Resource

app = typer.Typer(
    help="Canary rollouts with online metric tests: plan, start, follow, steer, report.", no_args_is_help=True
)


@app.command()
def start(
    context: typer.Context,
    file: Annotated[Path, path_argument(help="YAML: an Experiment, or only its spec.")],
    name: Annotated[str | None, typer.Option("--name", help="In place of the file's.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and say what would happen; ask no cluster.")
    ] = False,
    rankings_per_day: RankingsPerDay = None,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Check an experiment, say what will happen, and create it."""
    from serving.cli.experiment_faults import ExperimentFileError
    from serving.cli.experiment_file import read
    from serving.cli.experiment_outlook import outlook
    from serving.cli.experiment_shown import foreseen

    output = of(context).output
    try:
        given = read(file, name)
    except ExperimentFileError as error:
        output.answer({"created": False, "faults": [asdict(each) for each in error.faults]})
        raise
    ahead = outlook(given.spec, rankings_per_day)
    for warning in ahead.warnings:
        output.notes.print(f"warning: {warning}", style="yellow", markup=False)
    place = None if dry_run else _create(given, namespace, kube_context)
    if place is None:
        done = f"{given.name} is valid and was not created (--dry-run)"
    else:
        done = (
            f"Experiment {given.name} created in {place}. Follow it: sightline experiment watch -n {place} {given.name}"
        )
    document = {"created": place is not None, "experiment": given.name, "namespace": place, "outlook": asdict(ahead)}
    output.answer(document, "\n".join([*foreseen(ahead), done]))


@app.command()
def status(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One experiment; all of them if left out.")] = None,
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    kube_context: KubeContext = None,
) -> None:
    """Show the experiments in a line each, or one of them in full."""
    from serving.cli.experiment_shown import listed, summary
    from serving.cluster.connection import connect
    from serving.cluster.experiments import list_experiments
    from serving.cluster.experiments import read as fetch
    from serving.rollout.report.resource import ResourceError, read

    cluster, output = connect(kube_context, namespace), of(context).output
    if name is not None:
        _show(context, read(fetch(cluster, name, cluster.namespace)))
        return
    lines = []
    for each in list_experiments(cluster, namespace, everywhere=everywhere):
        try:
            lines.append(summary(read(each)))
        except ResourceError as error:
            output.notes.print(f"warning: {error}", style="yellow", markup=False)
    output.answer([asdict(each) for each in lines], listed(lines))


@app.command()
def watch(
    context: typer.Context,
    name: Name,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Follow an experiment to its end; exit code 0 if it has won. With --json a document per line."""
    from serving.cli.experiment_shown import document, summary
    from serving.cluster.connection import connect
    from serving.cluster.errors import ClusterError
    from serving.cluster.experiments import follow
    from serving.rollout.experiment.state import Phase
    from serving.rollout.report.resource import read

    cluster, output = connect(kube_context, namespace), of(context).output
    told, before = 0, ""
    for each in follow(cluster, name, cluster.namespace):
        found = read(each)
        log = found.state.log if found.state else ()
        fresh, told = _fresh(log, told)
        brief = summary(found)
        line = _line(brief)
        if output.json:
            entries = [entry.model_dump(mode="json", by_alias=True) for entry in fresh]
            sys.stdout.buffer.write(orjson.dumps({**document(brief), "entries": entries}) + b"\n")
            sys.stdout.buffer.flush()
        else:
            for entry in fresh:
                output.out.print(f"{entry.at:%Y-%m-%d %H:%M}  {entry.reason}: {entry.message}", markup=False)
            if line != before:
                output.out.print(f"    {line}", markup=False)
        before = line
        if found.state is not None and found.state.phase.ended:
            raise typer.Exit(0 if found.state.phase in (Phase.WON, Phase.PROMOTED) else 1)
    raise ClusterError(f"Experiment {name} was deleted before it ended")


for _command in (
    experiment_steer.pause,
    experiment_steer.resume,
    experiment_steer.approve,
    experiment_steer.abort,
    experiment_steer.promote,
    experiment_steer.rollback,
    plan,
    report,
    simulate,
):
    app.command()(_command)


def _create(given: ExperimentFile, namespace: str | None, kube_context: str | None) -> str:
    """Create it; returns the namespace. Raises ClusterError, also if another one has the model."""
    from serving.cluster.connection import connect
    from serving.cluster.experiments import create

    cluster = connect(kube_context, namespace)
    place = namespace or given.namespace or cluster.namespace
    _refuse_second(cluster, given, place)
    create(cluster, given.resource(place), place)
    return place


def _refuse_second(cluster: Cluster, given: ExperimentFile, place: str) -> None:
    """A model's users can be divided once; the controller would reject it, and say so only later."""
    from serving.cluster.errors import ConflictError
    from serving.cluster.experiments import list_experiments
    from serving.rollout.report.resource import ResourceError, read

    wanted = given.spec.target
    for each in list_experiments(cluster, place):
        try:
            found = read(each)
        except ResourceError:
            continue  # one that cannot be read is no running one: its controller could not read it either
        running = found.state is None or not found.state.phase.ended
        target = found.spec.target
        same = (target.kind, target.name, target.model) == (wanted.kind, wanted.name, wanted.model)
        if running and same and found.name != given.name:
            raise ConflictError(
                f"Experiment {found.name} in {place} runs on {target.kind} {target.name} already; wait for its end, "
                f"or end it: sightline experiment abort {found.name}"
            )


def _show(context: typer.Context, found: Resource) -> None:
    from serving.cli.experiment_shown import document, show, summary
    from serving.rollout.report.build import build

    output, brief = of(context).output, summary(found)
    made, state = build(found, datetime.now(UTC)), found.state
    if output.json:
        kept = None if state is None else state.model_dump(mode="json", by_alias=True)
        said = made.verdict.model_dump(mode="json", by_alias=True)
        output.answer({**document(brief), "verdictInWords": said, "state": kept})
        return
    notes = [state.change_refused] if state is not None and state.change_refused else []
    if found.spec.paused:
        notes.append(f"It is paused: sightline experiment resume {found.name}")
    show(output, made, brief, notes)


def _fresh(log: tuple[Any, ...], told: int) -> tuple[tuple[Any, ...], int]:
    """Entries that were not told yet, and the time up to which all are told."""
    fresh = tuple(each for each in log if each.at.timestamp() > told)
    return fresh, max([told, *(each.at.timestamp() for each in log)])


def _line(brief: Any) -> str:
    from serving.cli.experiment_shown import counted
    from serving.rollout.report import words

    lift = ""
    if brief.relative is not None:
        lift = f", lift {words.percent(brief.relative)} {words.interval(brief.low, brief.high)}"
    users = f", users {counted(brief.users)}" if brief.users else ""
    return f"{brief.phase}, {brief.share:g} % of users{users}{lift}"
