"""What must be on disk before the stack can start, and how it comes there."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass

from models.bundle import Bundle
from serving.stack import parts, pipeline, services
from serving.stack.attempt import Attempt
from serving.stack.captioning import Captioned, caption_catalogue
from serving.stack.foreground import Held
from serving.stack.journal import Say
from serving.stack.layout import Layout
from serving.stack.lines import Report
from serving.stack.pipeline import Catalogue
from serving.stack.ports import HOST, Ports
from serving.stack.services import RANKER
from training.checkpoint_file import CheckpointError
from training.lift import LiftReport
from training.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Prepared:
    """What a run of the offline path made, and how long each step took (seconds)."""

    catalogue: Catalogue
    captioned: Captioned
    lift: LiftReport
    bundles: Mapping[str, Bundle]
    seconds: Mapping[str, float]


def prepare(layout: Layout, ports: Ports, held: Held, recipe: Recipe, say: Say, report: Report) -> Prepared:
    """Run the offline path: fetch, draw, caption through Ray Serve, train, write bundles, fill Triton's repository.

    A preparation that was cut off is gone on with: what it finished is taken as it is.

    Raises:
        StackError, and what the steps raise: see `serving.stack.pipeline`.
    """
    clock = _Clock()
    held.supervisor.launch(services.captioner(layout, ports))
    source = pipeline.catalogue(layout, say, report)
    parts.refuse_own_models(layout, source.data.dataset.digest)
    attempt = Attempt.begin(layout, recipe)
    if attempt.resumed:
        say("Going on with the preparation that was cut off; what it finished is kept")
    clock.lap("interactions and posters")
    held.supervisor.wait_ready(report)
    clock.lap("waiting for Ray Serve")
    url = f"http://{HOST}:{ports.captioner}"
    captioned = caption_catalogue(
        layout,
        pipeline.demo_catalogue(source),
        url,
        lambda done, of: report("captioning", done, of),
        replace_data=True,  # the demo's store is the demo's alone
    )
    clock.lap("captioning")
    held.supervisor.end("captioner")
    lift, bundles = _trained(attempt, source, captioned, recipe, say, report)
    clock.lap("training and lift")
    pipeline.place(layout, bundles, report)
    attempt.finish()
    return Prepared(source, captioned, lift, bundles, clock.laps)


def _trained(
    attempt: Attempt, source: Catalogue, captioned: Captioned, recipe: Recipe, say: Say, report: Report
) -> tuple[LiftReport, Mapping[str, Bundle]]:
    dataset = source.data.dataset
    done = attempt.bundles(dataset.digest)
    if done is not None:
        return LiftReport.model_validate(done[RANKER].metrics["lift"]), done

    def train() -> tuple[LiftReport, Mapping[str, Bundle]]:
        return pipeline.train(
            attempt.layout.bundles,
            dataset,
            {item: caption.text for item, caption in captioned.captions.items()},
            recipe,
            attempt.created,
            report,
            words=source.data.words(),
            checkpoints=attempt.checkpoints,
        )

    try:
        return train()
    except CheckpointError as error:
        say(f"{error}; the runs begin anew")
        shutil.rmtree(attempt.checkpoints)
        return train()


def prepare_for_up(layout: Layout, ports: Ports, held: Held) -> None:
    """`prepare` with the project's recipe, told in the journal."""
    say, report = held.journal.say, held.journal.report
    prepare(layout, ports, held, load_recipe(pipeline.RECIPE), say, report)


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now
