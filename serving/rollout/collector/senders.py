"""Who sent the outcomes: what each sender brought beside all others, so that a false one can be told from them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from serving.rollout.collector.columns import after_exposure, wanted
from serving.rollout.evidence.codec import names
from serving.rollout.experiment.evidence import OTHERS, OWN, EvidenceQuery, sent_columns

MOST_SENDERS = 20
"""Compared by name, those that sent last; the rest together. Each costs one more reading of the users."""


def senders_of(connection: sqlite3.Connection, events: Sequence[int], since: float) -> dict[str, list[int]]:
    """Senders of these events whose newest one is not before a time: numbers by name, "" for what has no name."""
    marks = ", ".join(map(str, events)) or "-1"
    found = connection.execute(
        f"""SELECT coalesce(s.name, ''), t.sender FROM sent t LEFT JOIN senders s ON s.number = t.sender
        WHERE t.event IN ({marks}) AND t.last >= ? GROUP BY t.sender ORDER BY max(t.last) DESC, t.sender""",
        (since,),
    ).fetchall()
    one_by_one, rest = found[:MOST_SENDERS], found[MOST_SENDERS:]
    together = {f"{len(rest)} other senders": [number for _, number in rest]} if rest else {}
    return {name: [number] for name, number in sorted(one_by_one)} | together


def parted(query: EvidenceQuery, numbers: Mapping[str, int], senders: Sequence[int]) -> dict[str, str]:
    """SQL by column name: of each outcome what the senders brought and what all others did, then the query's own
    columns without them.
    """
    marks = ", ".join(map(str, senders))
    own, others = f"o.sender IN ({marks})", f"o.sender NOT IN ({marks})"
    columns: dict[str, str] = {}
    for column in sent_columns(query.columns):
        columns[OWN + column.name] = after_exposure(column, numbers, own)
        columns[OTHERS + column.name] = after_exposure(column, numbers, others)
    return columns | dict(zip(names(query.columns, query.before), wanted(query, numbers, others), strict=True))
