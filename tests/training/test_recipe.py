"""Recipes are closed: every key is read, and a wrong one is refused by its name."""

from pathlib import Path

import pytest

import training
from training.recipe import Recipe, RecipeError, load_recipe, parse_recipe

RECIPES = sorted((Path(training.__file__).parent / "recipes").glob("*.yaml"))


LONG, SHORT = (Path(training.__file__).parent / "recipes" / f"{name}.yaml" for name in ("movielens-folds", "movielens"))


def test_every_recipe_of_the_project_is_read_and_begins_with_its_command():
    assert [path.name for path in RECIPES] == ["default.yaml", "demo.yaml", "movielens-folds.yaml", "movielens.yaml"]
    for path in RECIPES:
        assert path.stem.startswith(load_recipe(path).name)
    for path in (LONG, SHORT):
        assert path.read_text().splitlines()[0] == f"# sightline train --recipe training/recipes/{path.name}"


def test_the_long_recipe_differs_from_the_short_one_in_its_splits_alone():
    long, short = load_recipe(LONG), load_recipe(SHORT)
    assert long.model_copy(update={"splits": short.splits}) == short
    assert [choice.name for choice in long.splits] == ["within_user", "global_time", "new_items"]
    assert long.splits[2].folds == (0, 1, 2, 3, 4)


def test_both_variants_of_every_measuring_recipe_get_at_least_three_seeds():
    assert all(len(load_recipe(path).seeds) >= 3 for path in (LONG, SHORT))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ncrossing_layers: 3", "crossing_layers: unknown key"),
        ("name: a\nranker: {architecture: dcn, crossing_layers: 3}", r"ranker\.dcn\.crossing_layers: unknown key"),
        ("name: a\nranker: {architecture: dlrm, cross_layers: 3}", r"ranker\.dlrm\.cross_layers: unknown key"),
        ("name: a\ntraining: {epoch: 3}", r"training\.epoch: unknown key"),
        ("name: a\ntraining: {epochs: 0}", r"training\.epochs: is 0; .*greater than or equal to 1"),
        ("name: a\nseeds: [1, 1]", r"seeds \[1, 1\] repeat"),
        ("name: a\nsplits: [{name: random}]", r"splits\.0\.name: is 'random'"),
        ("name: a\nsplits: [{name: global_time, folds: [1]}]", "global_time has no folds"),
        ("name: a\nsplits: [{name: global_time}, {name: global_time}]", "repeat; expected each name once"),
        ("name: a b", "name: is 'a b'"),
        ("ranker: {architecture: dcn}", "name: is .*Field required"),
        ("- a\n- b", "holds list; expected keys"),
        ("a: [", "is not YAML"),
        ("", "holds nothing; expected keys"),
    ],
)
def test_a_wrong_recipe_is_refused_naming_what_is_wrong(text, words):
    with pytest.raises(RecipeError, match=words):
        parse_recipe(text)


def test_all_faults_are_told_at_once():
    with pytest.raises(RecipeError, match=r"(?s)has 2 fault\(s\):.*epoch: .*sead: "):
        parse_recipe("name: a\ntraining: {epoch: 3}\nsead: 4")


def test_a_recipe_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"nothing\.yaml cannot be read \(No such file"):
        load_recipe(tmp_path / "nothing.yaml")


def test_the_promised_defaults():
    recipe = Recipe(name="a")
    assert recipe.seeds == (1, 2, 3)
    assert recipe.ranker.architecture == "dcn"
    assert (recipe.checkpoint.seconds, recipe.checkpoint.steps, recipe.training.micro_batches) == (60, None, None)
    assert (recipe.bootstrap.resamples, recipe.bootstrap.level, recipe.cold_below, recipe.workers) == (1000, 0.95, 5, 1)
    caption = recipe.caption
    assert (caption.max_tokens, caption.deduplicate, caption.buckets, caption.max_ngram) == (32, True, 32768, 2)
