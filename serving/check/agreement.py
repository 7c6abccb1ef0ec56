"""Do the ways in agree, and is everything known that should be? Pure functions over answers."""

import math
from collections.abc import Mapping, Sequence

from serving.check.findings import CheckFailedError
from serving.check.question import Answer, Question

TOLERANCE = 1e-5
"""Scores are float32; batches of another size may differ in the last bits."""


def scores_agree(question: Question, answers: Sequence[Answer]) -> str:
    """Every score is a probability, every order is best first, and the ways differ by at most `TOLERANCE`."""
    for answer in answers:
        _well_formed(question, answer)
    first = answers[0]
    apart, item, way = max(
        (abs(one - other), item, answer.way)
        for answer in answers
        for one, other, item in zip(first.scores, answer.scores, question.items, strict=True)
    )
    if apart > TOLERANCE:
        raise CheckFailedError(
            f"item {item!r}: {first.way} and {way} differ by {apart:.2e}; expected at most {TOLERANCE:g}; "
            "are several versions served, or was the store written in between?"
        )
    return f"{len(question.items)} items, {', '.join(a.way for a in answers)} at most {apart:.1e} apart"


def _well_formed(question: Question, answer: Answer) -> None:
    wrong = [score for score in answer.scores if not (math.isfinite(score) and 0 <= score <= 1)]
    if wrong or len(answer.scores) != len(question.items):
        raise CheckFailedError(
            f"{answer.way}: scores {list(answer.scores)}; expected {len(question.items)} probabilities between 0 and 1"
        )
    if sorted(answer.order) != list(range(len(question.items))):
        raise CheckFailedError(f"{answer.way}: order {list(answer.order)}; expected each candidate once")
    ranked = [answer.scores[position] for position in answer.order]
    if ranked != sorted(ranked, reverse=True):
        raise CheckFailedError(f"{answer.way}: scores in its order are {ranked}; expected the best first")


def everything_known(question: Question, answers: Sequence[Answer]) -> str:
    """Items and user are in the store, every item has a caption, and no ranking was degraded."""
    for answer in answers:
        if answer.degraded:
            raise CheckFailedError(f"{answer.way}: degraded: {', '.join(answer.degraded)}; see the transformer's log")
        for what, known in (("item store", answer.item_known), ("captions", answer.caption_known)):
            missing = [item for item, there in zip(question.items, known, strict=True) if not there]
            if missing:
                raise CheckFailedError(
                    f"{what}: nothing for {', '.join(missing)} ({answer.way}); did the Job that fills the store finish?"
                )
        if not answer.user_known:
            raise CheckFailedError(f"user {question.user_id!r} is not in the item store ({answer.way})")
    return f"user {question.user_id}, {len(question.items)} items and their captions are in the store"


def digests_agree(digests: Mapping[str, str]) -> str:
    """Every source names the same contract."""
    named = {digest: [source for source, other in digests.items() if other == digest] for digest in digests.values()}
    if len(named) > 1:
        told = "; ".join(f"{digest} ({', '.join(sources)})" for digest, sources in named.items())
        raise CheckFailedError(f"contracts differ: {told}; deploy the bundle that the ranker serves, or the reverse")
    (digest, sources) = next(iter(named.items()))
    return f"{digest} ({', '.join(sources)})"
