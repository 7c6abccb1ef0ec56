# Rebuild the tiny captioner (half an hour on two slow cores, mostly training):
#   python -m training.captioner.run
"""Render, learn the tokenizer, train, examine, and write models/captioner/tiny with its report."""

import argparse
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from models.captioner.caption import Captioner
from models.captioner.llava import LlavaCaptioner
from models.captioner.presets import TINY, preset
from models.captioner.source import weights_digest
from models.local_path import local_path
from training.captioner import exams
from training.captioner.checkpoint import publish
from training.captioner.evaluate import measure
from training.captioner.job import Job, Settings, tell_line, work
from training.captioner.pictures import cached_pictures, renderer_digest
from training.captioner.team import gather

HERE = Path(__file__).resolve().parents[2]
REPORT = "report.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 0 when the weights and their report are in place."""
    parsed = _parser().parse_args(arguments)
    settings = Settings(
        seed=parsed.seed,
        scenes=parsed.scenes,
        look_steps=parsed.look_steps,
        steps=parsed.steps,
        batch=parsed.batch,
        learning_rate=parsed.learning_rate,
        processes=parsed.processes,
    )
    parsed.out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=parsed.out.parent, prefix=".unfinished-"))
    try:
        started = time.monotonic()
        build(settings, staging, parsed.cache)
        minutes = (time.monotonic() - started) / 60
        report = examine(settings, staging, parsed.exam_scenes, parsed.exam_posters)
        write_report(report | {"training_minutes": round(minutes, 1)}, staging)
        publish(staging, parsed.out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return 0


def build(settings: Settings, folder: Path, cache: Path) -> None:
    """Write a trained checkpoint to `folder`; `cache` keeps the rendered training pictures."""
    tell_line(f"rendering {settings.scenes} scenes (kept in {cache})")
    cached_pictures(cache, settings.seed, settings.scenes, settings.processes)
    tell_line(f"training: {settings.look_steps} steps of looking, {settings.steps} of speaking")
    job = Job(settings, preset("tiny").prompt, cache, folder)
    with tempfile.TemporaryDirectory() as meeting:
        gather(settings.processes, work, job, Path(meeting) / "meeting")


def examine(settings: Settings, folder: Path, scenes: int, posters: int) -> dict[str, object]:
    """The report's figures, measured on the files in `folder` as any user loads them, with seeds of their own."""
    captioner = LlavaCaptioner.load(preset("tiny").model_copy(update={"source": str(folder)}))
    tell_line(f"examining {scenes} held-out scenes and {posters} posters")
    return {
        "settings": asdict(settings),
        "weights_sha256": weights_digest(folder),
        "renderer_sha256": renderer_digest(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "held_out": _exam(captioner, exams.held_out(settings.seed + 1, scenes)),
        "posters": _exam(captioner, exams.posters(settings.seed, posters)),
    }


def write_report(report: dict[str, object], folder: Path) -> None:
    """report.json in `folder`, and its main figures on stderr."""
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name in ("held_out", "posters"):
        figures = report[name]
        if isinstance(figures, dict):
            shown = {key: figures[key] for key in ("exact", "mean_attribute", "attributes")}
            tell_line(f"{name}: {json.dumps(shown)}")


def _exam(captioner: Captioner, exam: exams.Exam) -> dict[str, object]:
    scenes, captions = [], []
    for batch in exams.batches(exam):
        scenes += [scene for scene, _ in batch]
        captions += captioner.caption([image for _, image in batch])
    return measure(scenes, captions).as_json()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=local_path, default=TINY, help="the checkpoint's folder")
    parser.add_argument(
        "--cache", type=local_path, default=HERE / ".sightline" / "captioner", help="keeps rendered pictures"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides the scenes, the first weights and the order")
    parser.add_argument("--scenes", type=int, default=20_000, help="pictures to train on")
    parser.add_argument("--look-steps", type=int, default=4_500, help="steps of the vision tower alone")
    parser.add_argument("--steps", type=int, default=1_500, help="steps of the projector and the language model")
    parser.add_argument("--batch", type=int, default=32, help="pictures in a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the highest, after the warm-up")
    parser.add_argument("--processes", type=int, default=2, help="processes that render and train; decides sums' order")
    parser.add_argument("--exam-scenes", type=int, default=2_000, help="held-out pictures in the report")
    parser.add_argument("--exam-posters", type=int, default=760, help="posters in the report")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
