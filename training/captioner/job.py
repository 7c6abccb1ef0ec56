"""One training job: what decides the weights, and the work of each process of the team."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.captioner.architecture import new_model
from training.captioner.checkpoint import save
from training.captioner.loop import Schedule, make_texts, train
from training.captioner.pictures import cached_pictures
from training.captioner.team import Team
from training.captioner.tokenizer import train_tokenizer


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the weights; `processes` too, for it decides the order of sums."""

    seed: int
    scenes: int
    look_steps: int
    steps: int
    batch: int
    learning_rate: float
    processes: int


@dataclass(frozen=True, slots=True)
class Job:
    """Settings, the prompt that captions continue, the rendered pictures' folder, and where the checkpoint goes."""

    settings: Settings
    prompt: str
    cache: Path
    folder: Path


def work(team: Team, job: Job) -> None:
    """Train as one member of the team on pictures that the cache already holds; the first member saves."""
    settings = job.settings
    tokenizer = train_tokenizer(settings.seed)
    model = new_model(tokenizer, settings.seed)
    pictures = cached_pictures(job.cache, settings.seed, settings.scenes, workers=1)
    texts = make_texts(pictures, tokenizer, job.prompt)
    schedule = Schedule(settings.look_steps, settings.steps, settings.batch, settings.learning_rate)
    tell = _Progress(tell_line if team.rank == 0 else _say_nothing, time.monotonic)
    train(model, pictures, texts, schedule, settings.seed, team, tell)
    if team.rank == 0:
        save(model, tokenizer, job.folder)


def tell_line(text: str) -> None:
    """One line of progress on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _say_nothing(text: str) -> None:
    del text


class _Progress:
    """Tells the mean loss of every hundred steps."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._tell, self._clock, self._started = tell, clock, clock()
        self._losses: list[float] = []

    def __call__(self, stage: str, step: int, loss: float) -> None:
        self._losses.append(loss)
        if step % 100 == 0:
            mean = sum(self._losses) / len(self._losses)
            self._tell(f"{stage} step {step} loss {mean:.4f} after {self._clock() - self._started:.0f} s")
            self._losses.clear()
