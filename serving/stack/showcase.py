"""Two users of the demo: their held-out films ranked by the running transformer, as panels of the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tokenizers import Tokenizer

from models.bundle import Bundle
from models.contract import FeatureEncoder
from models.items import StoredCaption
from serving.stack import ask
from serving.stack.encoded import Encoded, encoded
from serving.stack.errors import StackError
from serving.stack.page import Film, RankedFilm, UserPanel
from serving.stack.pipeline import Catalogue
from serving.stack.ports import HOST, Ports
from serving.stack.services import ABLATION, RANKER
from training.data import features

USERS = 2
CANDIDATES = 12


@dataclass(frozen=True)
class Ranked:
    """One user's ranking by both rankers, and the largest difference between the answers over REST and over gRPC."""

    question: ask.Question
    answer: Mapping[str, Any]
    answer_without: Mapping[str, Any]
    protocols_differ: float

    @property
    def scores(self) -> dict[str, float]:
        """Item id to the score with captions."""
        return _scores(self.answer)

    @property
    def scores_without(self) -> dict[str, float]:
        """Item id to the score of the ablation."""
        return _scores(self.answer_without)


def choose_users(source: Catalogue) -> list[str]:
    """The lowest user ids whose held-out interactions are enough and of both labels: chosen by rule, not by result."""
    held_out = source.data.dataset.interactions.iloc[source.split.test]
    grouped = held_out.groupby("user_id")["label"].agg(["size", "min", "max"])
    fitting = grouped[(grouped["size"] >= CANDIDATES) & (grouped["min"] == 0) & (grouped["max"] == 1)]
    chosen = sorted(fitting.index, key=int)[:USERS]
    if len(chosen) < USERS:
        raise StackError(
            f"{len(chosen)} users have {CANDIDATES} held-out interactions of both labels; {USERS} are needed"
        )
    return chosen


def question(source: Catalogue, user: str) -> ask.Question:
    """The user's first held-out films as candidates, in the context of the first of them."""
    rows = _rows_of(source, user, source.split.test).head(CANDIDATES)
    moment = rows["timestamp"].to_numpy(dtype=np.int64)[:1]
    context = {"hour": int(features.hours(moment)[0]), "weekday": int(features.weekdays(moment)[0])}
    return ask.Question(user, [str(item) for item in rows["item_id"]], context)


def rank(ports: Ports, asked: ask.Question) -> Ranked:
    """Ask the transformer over REST and over gRPC, with and without captions.

    Raises:
        StackError: the transformer does not answer.
    """
    rest = f"{HOST}:{ports.transformer_http}"
    answer = ask.over_rest(rest, RANKER, asked)
    scores = _scores(answer)
    over_grpc = ask.over_grpc(f"{HOST}:{ports.transformer_grpc}", RANKER, asked)
    difference = np.abs(over_grpc - np.array([scores[item] for item in asked.items])).max()
    return Ranked(asked, answer, ask.over_rest(rest, ABLATION, asked), float(difference))


def panel(
    source: Catalogue, captions: Mapping[str, StoredCaption], bundle: Bundle, ranked: Ranked, cold_below: int
) -> UserPanel:
    """The user's panel of the page; a film with fewer than `cold_below` training interactions is cold."""
    user = ranked.question.user_id
    assert bundle.tokenizer is not None, "a bundle with captions carries their tokenizer"
    cards = _Cards(
        source, captions, FeatureEncoder(bundle.contract), Tokenizer.from_buffer(bundle.tokenizer), cold_below
    )
    test = _rows_of(source, user, source.split.test).set_index("item_id")["label"]
    without = {entry["item_id"]: entry for entry in ranked.answer_without["ranking"]}
    ranking = [
        RankedFilm(
            film=cards.film(entry["item_id"]),
            score=entry["score"],
            score_without=without[entry["item_id"]]["score"],
            rank=entry["rank"],
            rank_without=without[entry["item_id"]]["rank"],
            label=bool(test[entry["item_id"]]),
        )
        for entry in ranked.answer["ranking"]
    ]
    train = _rows_of(source, user, source.split.train)
    liked = [cards.film(str(item)) for item in train[train["label"] == 1]["item_id"].tail(8)]
    return UserPanel(user, _about(source, user), liked, ranking)


class _Cards:
    """Describes films; knows the films, their captions and their buckets."""

    def __init__(
        self,
        source: Catalogue,
        captions: Mapping[str, StoredCaption],
        encoder: FeatureEncoder,
        pieces: Tokenizer,
        cold_below: int,
    ) -> None:
        self._films = source.data.films.set_index("item_id")
        self._posters = source.posters
        self._captions = captions
        self._encoder = encoder
        self._pieces = pieces
        self._counts = features.train_counts(source.data.dataset, source.split, "item_id")
        self._cold_below = cold_below

    def film(self, item: str) -> Film:
        film, caption = self._films.loc[item], self._captions.get(item)
        year = f" ({film['year']})" if film["year"] else ""
        return Film(
            title=f"{film['title']}{year}",
            genres=", ".join(film["genres"]),
            poster=self._posters[item],
            caption=caption.text if caption else "no caption",
            encoded=encoded(self._encoder, caption.tokens, self._name) if caption else Encoded(),
            cold=self._counts.get(item, 0) < self._cold_below,
        )

    def _name(self, token: int) -> str:
        return str(self._pieces.id_to_token(token))


def _rows_of(source: Catalogue, user: str, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    frame = source.data.dataset.interactions.iloc[rows]
    return frame[frame["user_id"] == user].sort_values(["timestamp", "item_id"])


def _scores(answer: Mapping[str, Any]) -> dict[str, float]:
    return {entry["item_id"]: entry["score"] for entry in answer["ranking"]}


def _about(source: Catalogue, user: str) -> str:
    users = source.data.dataset.users.set_index("user_id")
    person = users.loc[user]
    return ", ".join(f"{name} {person[name]}" for name in users.columns)
