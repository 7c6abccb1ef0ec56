"""`sightline bench`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from serving.cli.context import Demo, PortSettings, of
from serving.cli.output import table
from serving.stack.ports import Ports

if TYPE_CHECKING:
    from serving.stack.bench import BenchResult


def bench(context: typer.Context, port: PortSettings = None, demo: Demo = False) -> None:
    """Measure speed and memory, each beside what it is compared to, in one run.

    Ranks with the models and items of your own data, or (where there are none, or with --demo) with the demo's;
    captions the demo's posters.
    """
    from serving.stack import bench as benches

    given = of(context)
    layout = given.served(demo)
    given.output.say(f"models: {layout.bundles}, item store: {layout.store}")
    with given.output.steps() as report:
        result = benches.run(layout, Ports.parse(port or []), report)
    if given.output.json:
        given.output.answer(asdict(result))
        return
    for each in _tables(result):
        given.output.out.print(each)


def _tables(result: BenchResult) -> list[Table]:
    from serving.stack.bench import CANDIDATES

    rate = ("", "unit", "median", "lowest", "highest", "ratio")
    groups = dict.fromkeys(row.group for row in result.hashing)
    tables = [
        table(
            group.capitalize(),
            rate,
            [(r.name, r.unit, *_numbers(r.median, r.low, r.high, r.ratio)) for r in result.hashing if r.group == group],
            rate[2:],
        )
        for group in groups
    ]
    trained = [(r.way, "rows/s", *_numbers(r.median, r.low, r.high, r.ratio)) for r in result.training]
    captioned = [(r.way, "captions/s", *_numbers(r.median, r.low, r.high, r.ratio)) for r in result.captioning]
    tables.append(table("Training", rate, trained, rate[2:]))
    tables.append(table("Captioning", rate, captioned, rate[2:]))
    columns = ("", "p50 ms", "p99 ms", "p50 ratio", "p99 ratio")
    ranked = [(r.way, *_numbers(r.p50_ms, r.p99_ms, r.p50_ratio, r.p99_ratio)) for r in result.ranking]
    tables.append(table(f"Ranking {CANDIDATES} known candidates", columns, ranked, columns[1:]))
    memory = [(name, f"{mib:,.0f}") for name, mib in result.memory_mib.items()]
    tables.append(table("Memory after that", ("server", "MiB"), memory, ("MiB",)))
    return tables


def _numbers(*values: float) -> list[str]:
    return [f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in values]
