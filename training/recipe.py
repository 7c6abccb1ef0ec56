"""A training recipe: everything that decides what is trained and measured, in one closed YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.recommender.config import DCNSettings, RankerConfig
from models.yaml_text import YamlTextError, yaml_documents

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class RecipeError(ValueError):
    """A recipe that cannot be read; names every key at fault."""


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hiding(_Closed):
    """A share of the training rows is shown as if the item (or user) were new: these features as missing."""

    share: Share
    """Share of rows, drawn anew in every epoch."""
    features: tuple[str, ...]
    """Names in the contract; a categorical one becomes bucket 0, a dense one its default."""


class CaptionSettings(_Closed):
    """How captions become features; see `models.contract.CaptionFeature`."""

    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 32
    """Tokens kept of a caption."""
    deduplicate: bool = True
    """Keep each token (and n-gram) of a caption once."""
    buckets: Annotated[int, Field(ge=3)] = 2**15
    """Buckets of the caption table."""
    max_ngram: Annotated[int, Field(ge=1, le=8)] = 2
    """Token n-grams of order 1 to this."""
    seed: Seed = 0
    """Seed of the hash."""
    hide: Share = 0.05
    """Share of training rows whose caption is shown as missing, so that an item without one is ranked sensibly."""


class TrainingSettings(_Closed):
    """The loop."""

    batch_size: Annotated[int, Field(ge=1)] = 4096
    """Rows per step."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training rows at most."""
    patience: Annotated[int, Field(ge=1)] = 3
    """Stop after this many epochs without a better validation AUC; the best epoch's weights are kept."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Of Adam."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Decoupled (AdamW), per step and times the learning rate, on every weight."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    threads: Annotated[int, Field(ge=1)] = 2
    """CPU threads; part of what makes two runs equal bit for bit."""
    micro_batches: Annotated[int, Field(ge=1)] | None = None
    """Parts that a batch's gradient is added from, in order; with it, several processes (`--distributed`) train the
    same bits as one. Without it there are as many as processes, and the models differ by rounding."""


class CheckpointSettings(_Closed):
    """How often a run that has a checkpoint saves it; it does so at the end of each epoch too."""

    seconds: Annotated[float, Field(gt=0.0)] = 60.0
    """At most this much work is lost when a process is killed."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Also after this many steps."""


class SplitChoice(_Closed):
    """One way to part the data; `seed` and `folds` are for `new_items` only."""

    name: Literal["within_user", "global_time", "new_items"]
    seed: Seed = 0
    folds: Annotated[tuple[Annotated[int, Field(ge=0, le=4)], ...], Field(min_length=1)] = (0,)
    """Folds to train and test; their test rows are put together (`new_items` only)."""
    reference: bool = False
    """Also train with the words that the pictures were made from, where known: the most that captions could carry."""

    @model_validator(mode="after")
    def _folds_belong(self) -> SplitChoice:
        if self.name != "new_items" and (self.folds != (0,) or self.seed):
            raise ValueError(f"{self.name} has no folds and no seed; leave them out")
        if len(set(self.folds)) != len(self.folds):
            raise ValueError(f"folds {list(self.folds)} repeat; expected different ones")
        return self


class BootstrapSettings(_Closed):
    """The interval of the AUC difference."""

    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Resamples of users or items."""
    level: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Share of the resamples inside the interval."""
    seed: Seed = 0
    """Seed of the resampling."""


class Recipe(_Closed):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.\-]{0,63}$")]
    """Of the contract and the bundles."""
    contract_version: Annotated[int, Field(ge=1)] = 1
    """Raise it when the contract encodes other bytes."""
    ranker: RankerConfig = DCNSettings()
    """The network, the same with and without captions."""
    training: TrainingSettings = TrainingSettings()
    caption: CaptionSettings = CaptionSettings()
    hide: tuple[Hiding, ...] = ()
    """Simulated new items and users, the same with and without captions."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1, 2, 3)
    """Each variant is trained once per seed; the first one's models are served."""
    splits: Annotated[tuple[SplitChoice, ...], Field(min_length=1)] = (SplitChoice(name="within_user"),)
    """What is measured; the first one's models are served."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Training runs at the same time, each in a process of its own; the results do not depend on it."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """Changes no result either."""
    cold_below: Annotated[int, Field(ge=1)] = 5
    """An item with fewer training interactions is cold."""
    bootstrap: BootstrapSettings = BootstrapSettings()

    @model_validator(mode="after")
    def _repeats_are_refused(self) -> Recipe:
        names = [choice.name for choice in self.splits]
        if len(set(names)) != len(names):
            raise ValueError(f"splits {names} repeat; expected each name once")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} repeat; expected different ones")
        return self


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """Read a recipe's YAML text. Raises RecipeError with every fault: unknown key, wrong type, value out of range."""
    try:
        documents = yaml_documents(text)
    except YamlTextError as error:
        raise RecipeError(f"{where} is not YAML: {error}") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        held = " and ".join(type(each).__name__ for each in documents) or "nothing"
        raise RecipeError(f"{where} holds {held}; expected keys such as name, ranker and training")
    document = documents[0]
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise RecipeError(f"{where} has {error.error_count()} fault(s):\n{_faults(error)}") from error


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file. Raises RecipeError, also when there is no such file."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read ({error.strerror}); give the path of a YAML file") from error
    return parse_recipe(text, str(path))


def _faults(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "(whole)"
        if fault["type"] == "extra_forbidden":
            lines.append(f"  - {where}: unknown key; remove it or correct its spelling")
        else:
            lines.append(f"  - {where}: is {fault['input']!r}; {fault['msg']}")
    return "\n".join(lines)
