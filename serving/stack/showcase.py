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
from serving.stack.errors import StackError
from serving.stack.page import FilmCard, UserPanel
from serving.stack.pipeline import Catalogue
from serving.stack.ports import HOST, Ports
from serving.stack.services import ABLATION, RANKER

USERS = 2
CANDIDATES = 12
COLD = 5  # a film with fewer training interactions is cold


@dataclass(frozen=True)
class Ranked:
    """One user's ranking by both rankers, and the largest difference between the answers over REST and over gRPC."""

    question: ask.Question
    answer: Mapping[str, Any]
    scores: Mapping[str, float]
    scores_without: Mapping[str, float]
    protocols_differ: float


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
    moment = int(rows["timestamp"].iloc[0])
    context = {"hour": moment // 3600 % 24, "weekday": (moment // 86400 + 3) % 7}
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
    without = _scores(ask.over_rest(rest, ABLATION, asked))
    return Ranked(asked, answer, scores, without, float(difference))


def panel(source: Catalogue, captions: Mapping[str, StoredCaption], bundle: Bundle, ranked: Ranked) -> UserPanel:
    """The user's panel of the page."""
    user = ranked.question.user_id
    assert bundle.tokenizer is not None, "a bundle with captions carries their tokenizer"
    pieces = Tokenizer.from_buffer(bundle.tokenizer)
    cards = _Cards(source, captions, FeatureEncoder(bundle.contract), pieces)
    test = _rows_of(source, user, source.split.test).set_index("item_id")["label"]
    places, places_without = _places(ranked.scores), _places(ranked.scores_without)
    ranking = [
        cards.card(
            item,
            score=ranked.scores[item],
            score_without=ranked.scores_without[item],
            rank=places[item],
            rank_without=places_without[item],
            label=bool(test[item]),
        )
        for item in sorted(places, key=places.__getitem__)
    ]
    train = _rows_of(source, user, source.split.train)
    liked = [cards.card(str(item)) for item in train[train["label"] == 1]["item_id"].tail(8)]
    return UserPanel(user, _about(source, user), liked, ranking)


class _Cards:
    """Makes film cards; knows the films, their captions and their buckets."""

    def __init__(
        self,
        source: Catalogue,
        captions: Mapping[str, StoredCaption],
        encoder: FeatureEncoder,
        pieces: Tokenizer,
    ) -> None:
        self._films = source.data.films.set_index("item_id")
        self._posters = source.posters
        self._captions = captions
        self._encoder = encoder
        self._pieces = pieces
        self._counts = source.data.dataset.interactions.iloc[source.split.train]["item_id"].value_counts()

    def card(
        self,
        item: str,
        score: float = 0.0,
        score_without: float = 0.0,
        rank: int = 0,
        rank_without: int = 0,
        label: bool | None = None,
    ) -> FilmCard:
        film, caption = self._films.loc[item], self._captions.get(item)
        year = f" ({film['year']})" if film["year"] else ""
        return FilmCard(
            item_id=item,
            title=f"{film['title']}{year}",
            genres=", ".join(film["genres"]),
            poster=self._posters[item],
            caption=caption.text if caption else "no caption",
            tokens=[str(self._pieces.id_to_token(int(token))) for token in caption.tokens] if caption else [],
            buckets=self._buckets(caption.tokens) if caption else [],
            score=score,
            score_without=score_without,
            rank=rank,
            rank_without=rank_without,
            label=label,
            cold=int(self._counts.get(item, 0)) < COLD,
        )

    def _buckets(self, tokens: npt.NDArray[np.int32]) -> list[str]:
        """Each token's own bucket: the first column of a caption of that token alone."""
        if not len(tokens):
            return []
        alone = self._encoder.caption([np.array([token], dtype=np.int32) for token in tokens])[:, 0]
        return ["+".join(map(str, np.atleast_1d(bucket))) for bucket in alone]


def _rows_of(source: Catalogue, user: str, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    frame = source.data.dataset.interactions.iloc[rows]
    return frame[frame["user_id"] == user].sort_values(["timestamp", "item_id"])


def _scores(answer: Mapping[str, Any]) -> dict[str, float]:
    return {entry["item_id"]: float(entry["score"]) for entry in answer["ranking"]}


def _places(scores: Mapping[str, float]) -> dict[str, int]:
    ordered = sorted(scores, key=lambda item: -scores[item])
    return {item: place for place, item in enumerate(ordered, start=1)}


def _about(source: Catalogue, user: str) -> str:
    users = source.data.dataset.users.set_index("user_id")
    person = users.loc[user]
    return ", ".join(f"{name} {person[name]}" for name in users.columns)
