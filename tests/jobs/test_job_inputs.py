"""Inputs by URI: what decides a run is what the files hold, not where they lie."""

from argparse import Namespace
from pathlib import Path

import fsspec
import pytest

from models.captioner.presets import TINY
from training.job_inputs import RECIPES, InputError, digest_of, read_bytes, read_inputs, read_recipe
from training.recipe import RecipeError, load_recipe


def named(**changes):
    return Namespace(**{"tokenizer": None, "work": Path("nowhere"), **changes})


@pytest.fixture
def bucket(given):
    """The same files in an object store of this process."""
    store = fsspec.filesystem("memory")
    store.put(f"{given}/", "/bucket/", recursive=True)
    store.put(str(TINY / "tokenizer.json"), "/bucket/tokenizer.json")
    yield "memory://bucket"
    store.rm("/bucket", recursive=True)


def test_inputs_from_an_object_store_are_those_from_a_folder(given, bucket):
    said = []
    here, there = (
        read_inputs(
            named(
                recipe=f"{place}/recipe.yaml", data=f"{place}/data", captions=f"{place}/captions", tokenizer=tokenizer
            ),
            said.append,
        )
        for place, tokenizer in ((given, None), (bucket, f"{bucket}/tokenizer.json"))
    )
    assert here.identity() == there.identity()
    assert len(said) == 4
    assert len(here.captions) == 27
    assert all((here.captions[item] == there.captions[item]).all() for item in here.captions)


def test_another_recipe_caption_or_tokenizer_is_another_run_and_more_workers_are_not(given):
    arguments = named(recipe=str(given / "recipe.yaml"), data=str(given / "data"), captions=str(given / "captions"))
    inputs = read_inputs(arguments, lambda line: None)
    recipe = inputs.recipe
    same = inputs.with_recipe(recipe.model_copy(update={"workers": 8}))
    assert digest_of(same.identity()) == digest_of(inputs.identity())
    others = [
        inputs.with_recipe(recipe.model_copy(update={"seeds": (1, 2)})),
        read_inputs(Namespace(**{**vars(arguments), "captions": "none"}), lambda line: None),
    ]
    digests = {digest_of(each.identity()) for each in (inputs, *others)}
    assert len(digests) == 3


def test_a_recipe_is_named_by_its_file_or_as_one_of_the_projects(given):
    assert read_recipe("movielens") == load_recipe(RECIPES / "movielens.yaml")
    assert read_recipe(str(given / "recipe.yaml")).name == "small"
    with pytest.raises(RecipeError, match="or the name of a recipe of the project: default, demo, "):
        read_recipe("movielense")


@pytest.mark.parametrize("place", ["memory://bucket/nothing", "/no/such/file", "nothing://x", "s3:/x"])
def test_a_file_that_cannot_be_read_is_refused_by_its_option(place):
    with pytest.raises(InputError, match=f"--tokenizer {place}: cannot be read"):
        read_bytes(place, "--tokenizer")
