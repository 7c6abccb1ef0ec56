"""`sightline check`: is this installation whole? What `helm test` runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from serving.check.findings import Patience
from serving.check.question import Question
from serving.check.run import Report, Targets
from serving.check.run import check as look
from serving.cli.candidates import Item, Items, candidates
from serving.cli.context import of
from serving.cli.local_path import path_option
from serving.cli.output import Output, table

_MARKS = {"ok": Text("ok", "green"), "failed": Text("failed", "red"), "skipped": Text("skipped", "yellow")}


def check(
    context: typer.Context,
    transformer_http: Annotated[str, typer.Option(help="The transformer's REST address: http://host:port.")],
    user: Annotated[str, typer.Option(help="User id to rank for.")],
    items: Items = None,
    item: Item = None,
    model: Annotated[str, typer.Option(help="Which served ranker.")] = "ranker",
    transformer_grpc: Annotated[
        str | None, typer.Option(help="The transformer's gRPC address: host:port; skipped if left out.")
    ] = None,
    captioner: Annotated[str | None, typer.Option(help="The captioner: http://host:port; skipped if left out.")] = None,
    picture: Annotated[Path | None, path_option(help="The image file to caption.")] = None,
    ranker_http: Annotated[
        str | None, typer.Option(help="Triton's REST address, to compare its contract; skipped if left out.")
    ] = None,
    bundle: Annotated[
        Path | None, path_option(help="A bundle's folder, to compare its contract; skipped if left out.")
    ] = None,
    known: Annotated[
        bool, typer.Option("--known/--any", help="Items, their captions and the user must be in the item store.")
    ] = True,
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to try again: first for the caption, then for the ranking.")
    ] = 120.0,
) -> None:
    """Caption a picture, rank over V1, V2 and gRPC, compare scores and contracts; exit code 1 says what is wrong."""
    if (captioner is None) != (picture is None):
        raise typer.BadParameter("--captioner and --picture belong together: give both or none")
    asked = candidates(items, item)
    targets = Targets(
        _base(transformer_http, "--transformer-http"),
        transformer_grpc,
        None if captioner is None else _base(captioner, "--captioner"),
        picture,
        None if ranker_http is None else _base(ranker_http, "--ranker-http"),
        bundle,
    )
    output = of(context).output
    with output.steps() as tell:
        tell("asking the installation", 0, 1)
        patience = Patience(wait, waiting=lambda failed: tell(f"waiting for: {', '.join(failed)}", 0, 1))
        report = look(targets, Question(model, user, asked), patience, known=known)
    _show(output, report)
    if not report.good:
        raise typer.Exit(1)


def _base(url: str, option: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{option} {url!r}: expected http://host:port")
    return url.rstrip("/")


def _show(output: Output, report: Report) -> None:
    if output.json:
        output.answer(report.as_dict())
        return
    rows = [(_MARKS[finding.state], finding.name, finding.found) for finding in report.findings]
    output.out.print(table("Installation", ("", "what", "found"), rows))
    if report.answers:
        output.out.print(_ranking(report))
    failed = [finding.name for finding in report.findings if finding.state == "failed"]
    output.out.print(f"failed: {', '.join(failed)}" if failed else "everything that was looked at is well")


def _ranking(report: Report) -> Table:
    first = report.answers[0]
    rows = [
        (
            rank,
            report.question.items[at],
            *(f"{a.scores[at]:.6f}" for a in report.answers),
            _yes(first.caption_known[at]),
        )
        for rank, at in enumerate(first.order, start=1)
    ]
    ways = [answer.way for answer in report.answers]
    columns = ("rank", "item", *ways, "caption")
    return table(f"{report.question.model} for user {report.question.user_id}", columns, rows, ("rank", *ways))


def _yes(known: bool) -> str:
    return "known" if known else "missing"
