"""The whole system once, on one machine: the offline path, the servers, two users ranked, the page."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.stack import calls, services, showcase
from serving.stack.foreground import foreground
from serving.stack.journal import Say, both
from serving.stack.layout import Layout
from serving.stack.lift_view import SplitView, views
from serving.stack.lines import Report
from serving.stack.page import DemoPage, UserPanel
from serving.stack.ports import HOST, Ports
from serving.stack.prepared import Prepared, prepare
from serving.stack.services import RANKER
from serving.stack.showcase import Ranked
from training.recipe import Recipe


@dataclass(frozen=True)
class DemoResult:
    """What the demo shows; every figure is of this run."""

    page: Path
    prepared: Prepared
    lift: list[SplitView]
    ranked: list[Ranked]
    panels: list[UserPanel]
    calls: Mapping[str, str]
    logs: Mapping[str, str]
    facts: Mapping[str, str]
    seconds: Mapping[str, float]


def run(layout: Layout, ports: Ports, recipe: Recipe, say: Say, report: Report) -> DemoResult:
    """Run the demo; the servers are stopped at its end, however it ends.

    Raises:
        StackBusyError: a stack runs on this state folder.
        StackError, and what the steps raise: nothing is left running.
    """
    began = time.monotonic()
    with foreground(layout, ports, "demo") as held:
        report = both(report, held.journal.report)
        made = prepare(layout, ports, held, recipe, say, report)
        held.supervisor.launch(services.triton(layout, ports), services.transformer(layout, ports))
        held.supervisor.wait_ready(report)
        report("ranking", 0, 1)
        users = showcase.choose_users(made.catalogue)
        ranked = [showcase.rank(ports, showcase.question(made.catalogue, user)) for user in users]
        report("ranking", 1, 1)
    seconds = {**made.seconds, "all": time.monotonic() - began}
    return _result(layout, ports, made, ranked, seconds)


def _result(
    layout: Layout, ports: Ports, made: Prepared, ranked: list[Ranked], seconds: Mapping[str, float]
) -> DemoResult:
    question = ranked[0].question
    texts = {
        "curl": calls.curl(f"{HOST}:{ports.transformer_http}", RANKER, question),
        "Python": calls.python(f"{HOST}:{ports.transformer_grpc}", RANKER, question),
    }
    logs = {name: str(layout.log(name)) for name in ("captioner", "triton", "transformer")}
    lift = views(made.lift)
    captions = made.captioned.captions
    facts = _facts(made, ranked, seconds)
    bundle, cold_below = made.bundles[RANKER], made.lift.cold_below
    panels = [showcase.panel(made.catalogue, captions, bundle, each, cold_below) for each in ranked]
    page = DemoPage(
        users=panels,
        cold_below=cold_below,
        lift=lift,
        facts=facts,
        calls={"First, start the stack": "make up", **texts},
        logs=logs,
    )
    path = layout.demo / "index.html"
    page.write(path)
    return DemoResult(path, made, lift, ranked, panels, texts, logs, facts, seconds)


def _facts(made: Prepared, ranked: list[Ranked], seconds: Mapping[str, float]) -> dict[str, str]:
    captions = list(made.captioned.captions.values())
    dataset = made.catalogue.data.dataset
    difference = max(each.protocols_differ for each in ranked)
    tally = made.captioned.tally
    rate = f"{tally.captioned:,} at {tally.captioned / seconds['captioning']:.0f} a second through Ray Serve"
    return {
        "data": f"{len(dataset.interactions):,} ratings, {len(dataset.users):,} users, {len(dataset.items):,} films",
        "captioner": f"{captions[0].captioner}, {len(captions):,} posters: {rate if tally.captioned else 'kept'}",
        "contract": made.bundles[RANKER].contract.digest,
        "REST and gRPC": f"scores differ by at most {difference:.1e}",
        "time": ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()),
    }
