"""`sightline job`: training, lift, publishing and captioning as Jobs of a cluster."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from serving.cli.context import of
from serving.cli.output import table

if TYPE_CHECKING:
    from serving.cluster.status import Attempt, JobStatus

app = typer.Typer(help="Jobs in a Kubernetes cluster: train, lift, publish, backfill.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The Job's name.")]
KubeContext = Annotated[
    str | None, typer.Option("--context", help="A context of the kubeconfig; the current one if left out.")
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Where; the context's namespace if left out.")]


@app.command()
def submit(
    context: typer.Context,
    manifest: Annotated[str, typer.Argument(help="train, lift, publish or backfill (manifests/jobs), or a file.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the Job's program: recipe=demo, again; repeatable.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image of the Job's container.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the Job; generated if left out.")] = None,
    queue: Annotated[str | None, typer.Option(help="Kueue's local queue that admits it.")] = None,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Create a Job from a manifest, with changes, and print its name; says what would go with its pod."""
    from serving.cluster.connection import connect
    from serving.cluster.jobs import submit as create
    from serving.cluster.manifest import Changes, changed, find, options_of, read
    from serving.cluster.places import fleeting, without_claims_that_wait

    changes = Changes(options_of(settings or []), image, queue, name)
    objects = changed(read(find(manifest)), changes)
    cluster = connect(kube_context)
    objects, warnings = without_claims_that_wait(cluster, objects, namespace)
    for warning in (*warnings, *fleeting(objects)):
        of(context).output.say(f"WARNING: {warning}")
    done = create(cluster, objects, namespace)
    job = done[-1]
    lines = [f"{each.kind} {each.name} {'created' if each.made else 'was there already'}" for each in done]
    follow = f"follow it: sightline job logs --follow --namespace {job.namespace} {job.name}"
    of(context).output.answer([asdict(each) for each in done], "\n".join([*lines, follow]))


@app.command()
def status(context: typer.Context, name: Name, namespace: Namespace = None, kube_context: KubeContext = None) -> None:
    """Show phase, attempts, exit codes, and what the Job said when it ended: metrics, lift, bundles, contract."""
    from serving.cluster.connection import connect
    from serving.cluster.status import status as look

    cluster = connect(kube_context, namespace)
    found = look(cluster, name, cluster.namespace)
    output = of(context).output
    output.answer(asdict(found))
    if not output.json:
        _show(context, found)


@app.command("list")
def list_jobs(
    context: typer.Context,
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    all_jobs: Annotated[bool, typer.Option("--all", help="Also Jobs that are not Sightline's.")] = False,
    kube_context: KubeContext = None,
) -> None:
    """List the Jobs, newest first."""
    from serving.cluster.connection import connect
    from serving.cluster.jobs import list_jobs as look
    from serving.cluster.status import summary

    found = [summary(job) for job in look(connect(kube_context), namespace, everywhere=everywhere, all_jobs=all_jobs)]
    rows = [
        (job.namespace, job.name, job.kind, job.phase, f"{job.succeeded}/{job.completions}", job.failed, job.created)
        for job in found
    ]
    columns = ("namespace", "name", "kind", "phase", "done", "failed pods", "created")
    of(context).output.answer([asdict(job) for job in found], table("Jobs", columns, rows, right=columns[4:6]))


@app.command()
def logs(
    context: typer.Context,
    name: Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it writes, and with the pods after it.")
    ] = False,
    index: Annotated[int | None, typer.Option(min=0, help="Shard of an Indexed Job.")] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="Only so many last lines.")] = None,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Print what the Job's newest pod printed; with --json an object per line: {"pod": …, "line": …}."""
    from serving.cluster.connection import connect
    from serving.cluster.logs import lines
    from serving.cluster.logs import logs as read

    cluster = connect(kube_context, namespace)
    pieces = read(cluster, name, cluster.namespace, index=index, follow=follow, tail=tail)
    if of(context).output.json:
        written = (orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in lines(pieces))
    else:
        written = (piece.text for piece in pieces)
    for text in written:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()


@app.command()
def cancel(
    context: typer.Context,
    name: Name,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the Job and its pods, whether it runs or not.")
    ] = False,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Stop a Job so that it can go on later (its pods save their state), or delete it."""
    from serving.cluster.connection import connect
    from serving.cluster.jobs import cancel as stop

    cluster = connect(kube_context, namespace)
    done = stop(cluster, name, cluster.namespace, delete)
    of(context).output.answer({"job": name, "namespace": cluster.namespace, "deleted": delete, "done": done}, done)


def _show(context: typer.Context, found: JobStatus) -> None:
    """The Job in a line, its attempts, and what the newest of each shard said."""
    output = of(context).output
    why = f" ({found.why})" if found.why else ""
    counts = f"{found.succeeded} of {found.completions} done, {found.failed} failed attempts"
    output.out.print(f"{found.kind} {found.name} in {found.namespace}: {found.phase}{why}; {counts}", markup=False)
    rows = [_row(each) for each in found.attempts]
    if rows:
        output.out.print(
            table("Attempts", ("shard", "pod", "phase", "exit", "meaning", "started"), rows, right=("exit",))
        )
    said = {each.index: each for each in found.attempts if each.message is not None}
    for index, each in said.items():
        title = "Last words" if index is None else f"Last words of shard {index}"
        message = {"text": each.message} if isinstance(each.message, str) else dict(each.message or {})
        output.out.print(f"\n{title}", markup=False)  # as a table's title it would be broken to the table's width
        output.out.print(table("", ("", ""), [(key, _text(value)) for key, value in message.items()]))


def _row(each: Attempt) -> tuple[str, ...]:
    index = "" if each.index is None else str(each.index)
    exit_code = "" if each.exit_code is None else str(each.exit_code)
    return index, each.pod, each.phase, exit_code, each.meaning or each.why or "", each.started or ""


def _text(value: Any) -> str:
    """A value for people: an object as a line per member."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_text(each)}" for key, each in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
