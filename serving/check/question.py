"""One ranking, asked for over every way in, and what came back."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """Rank these items for this user."""

    model: str
    user_id: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One way's answer; every sequence is in the order of the question's items but `order`.

    Attributes:
        way: how it was asked, as the report names it.
        order: positions in the question, best first.
        degraded: the transformer's own reasons for a worse ranking.
    """

    way: str
    scores: Sequence[float]
    order: Sequence[int]
    caption_known: Sequence[bool]
    item_known: Sequence[bool]
    user_known: bool
    degraded: Sequence[str]
    contract_digest: str
