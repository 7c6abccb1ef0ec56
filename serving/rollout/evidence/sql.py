"""The port `MetricSource` on DuckDB: exposures and outcomes of single users, or sums that a warehouse has made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

from serving.rollout.evidence import user_join, warehouse
from serving.rollout.evidence.database import Database, reading
from serving.rollout.evidence.quantiles import QuantilesQuery
from serving.rollout.evidence.user_join import Source
from serving.rollout.experiment.evidence import Evidence, EvidenceError, EvidenceQuery
from serving.rollout.experiment.spec import Column, SqlEvidence
from serving.rollout.statistics.winsor import CapRule, Caps

SECONDS = 1800.0
"""A question that takes longer is ended."""


class SqlSource:
    """Evidence of one experiment. Every question opens the database anew, and may be asked from any thread.

    Args:
        given: the part `evidence.sql` of the experiment's spec.
        folders: prefixes of files that may be read, the database's too, set by whoever runs the controller.
        memory: most memory of DuckDB, 4GB for instance; what does not fit goes to a folder in `scratch`.
        threads: most threads of DuckDB.
        seconds: after this a question is ended.
        key: of pseudonyms; with it queries have `pseudonym(user_id)`, for outcomes that carry users' own ids.
    """

    def __init__(
        self,
        given: SqlEvidence,
        *,
        folders: Sequence[str],
        memory: str | None = None,
        threads: int | None = None,
        seconds: float = SECONDS,
        scratch: Path | None = None,
        key: bytes | None = None,
    ) -> None:
        self._given, self._folders = given, folders
        self._memory, self._threads, self._seconds = memory, threads, seconds
        self._scratch, self._key = scratch, key

    def evidence(self, query: EvidenceQuery) -> Evidence:
        """Raises EvidenceError."""
        with self._open() as database:
            if self._given.query is not None:
                return warehouse.evidence(database, self._given.query, query)
            return user_join.evidence(database, self._users(), query)

    def quantiles(
        self, rules: Mapping[Column, CapRule], span: tuple[datetime, datetime], window: timedelta | None = None
    ) -> Caps:
        """Caps by column name, as the port `MetricSource` says. Raises EvidenceError."""
        if self._given.query is not None:
            raise EvidenceError(
                "a source of sums has no users to take a quantile of; leave capQuantile out and cap in the query, "
                "or give single users (kind: users)"
            )
        with self._open() as database:
            return user_join.quantiles(database, self._users(), QuantilesQuery(rules, span, window))

    def _users(self) -> Source:
        return Source(self._given.exposures or "", self._given.outcomes or "")

    def _open(self) -> AbstractContextManager[Database]:
        return reading(
            self._given.database,
            self._folders,
            memory=self._memory,
            threads=self._threads,
            seconds=self._seconds,
            scratch=self._scratch,
            key=self._key,
        )
