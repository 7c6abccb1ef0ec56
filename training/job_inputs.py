"""What a job is given, from paths and fsspec URIs: recipe, data, tokenizer, captions."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec

import training
from models.captioner.presets import TINY
from models.contract import CaptionTokenizer
from training.caption_shards import read_captions
from training.data import movielens, tables
from training.data.dataset import Dataset
from training.data.errors import DataError
from training.recipe import Recipe, RecipeError, parse_recipe
from training.rows import Tokens

RECIPES = Path(training.__file__).parent / "recipes"
NO_CAPTIONS = "none"
MOVIELENS = "movielens"


class InputError(DataError):
    """Something that a job was given cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that decides what a training job makes.

    Attributes:
        captions: token ids by item id; empty where the job was given none.
        words: what each item's picture was made from, where that is known.
        tokenizer_json: the content of tokenizer.json.
    """

    recipe: Recipe
    dataset: Dataset
    captions: Tokens
    words: Mapping[str, Sequence[str]] | None
    tokenizer: CaptionTokenizer
    tokenizer_json: bytes

    def with_recipe(self, recipe: Recipe) -> Inputs:
        """The same with another recipe."""
        return replace(self, recipe=recipe)

    def identity(self) -> dict[str, Any]:
        """The same for the same inputs, whatever they are called and wherever they lie."""
        digest = hashlib.sha256()
        for item in sorted(self.captions):
            digest.update(f"{item}\0{self.captions[item].tolist()}\n".encode())
        return {
            "recipe": self.recipe.model_dump(mode="json", exclude={"workers", "checkpoint"}),
            "data": self.dataset.digest,
            "captions": digest.hexdigest() if self.captions else None,
            "tokenizer": self.tokenizer.sha256,
        }


def read_inputs(arguments: Namespace, say: Callable[[str], None]) -> Inputs:
    """Read everything that the command line names.

    Raises:
        RecipeError, DataError, ContractError: it cannot be read, or is not what it should be.
    """
    recipe = read_recipe(arguments.recipe)
    data = read_bytes(arguments.tokenizer or str(TINY / "tokenizer.json"), "--tokenizer")
    tokenizer = CaptionTokenizer.from_bytes(data, where=arguments.tokenizer or "the tiny captioner's tokenizer.json")
    words = None
    if arguments.data == MOVIELENS:
        films = movielens.load(arguments.work / "data", say)
        dataset, words = films.dataset, films.words()
    else:
        dataset = tables.read(arguments.data)
    captions: Tokens = {}
    if arguments.captions != NO_CAPTIONS:
        texts = read_captions(arguments.captions, dataset, say)
        captions = dict(zip(texts, tokenizer.encode(list(texts.values())), strict=True))
    say(
        f"{len(dataset.interactions)} interactions, {len(dataset.users)} users, {len(dataset.items)} items, "
        f"{len(captions)} with a caption"
    )
    return Inputs(recipe, dataset, captions, words, tokenizer, data)


def read_recipe(named: str) -> Recipe:
    """A recipe of the project by its name, or a YAML file at a path or URI. Raises RecipeError."""
    known = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    try:
        text = read_bytes(str(known.get(named, named)), "--recipe").decode()
    except (InputError, UnicodeDecodeError) as error:
        raise RecipeError(f"{error}, or the name of a recipe of the project: {', '.join(known)}") from error
    return parse_recipe(text, named)


def read_bytes(place: str, option: str) -> bytes:
    """The content of a file at a path or URI. Raises InputError."""
    try:
        with fsspec.open(place, "rb") as file:
            data: bytes = file.read()
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"{option} {place}: cannot be read ({error}); give the path or URI of a file that is there"
        ) from error
    return data


def digest_of(identity: Mapping[str, Any]) -> str:
    """A short name for an identity: 16 hex digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
