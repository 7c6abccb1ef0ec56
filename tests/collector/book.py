"""A database that a test fills in its own process, at times of its own, and the question that is asked of it."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from serving.rollout.collector import columns, join
from serving.rollout.collector.events import EventReader
from serving.rollout.collector.history import quantiles
from serving.rollout.collector.ledger import Ledger
from serving.rollout.collector.schema import open_for_reading, open_for_writing
from serving.rollout.evidence.quantiles import QuantilesQuery
from serving.rollout.experiment.evidence import Evidence, EvidenceQuery
from serving.rollout.experiment.spec import Column
from tests.collector.naive import Did, Seen
from tests.collector.process import KEY
from tests.collector.sent import exposure, outcome

BEGAN = 1_750_000_000.0
HOUR = 3600.0
CLICKS, CLICKED = Column(event="click", aggregate="count"), Column(event="click", aggregate="any")
SPENT, RANKINGS = Column(event="purchase", aggregate="sum"), Column(event="exposure", aggregate="count")
SHOWN = Column(event="exposure", aggregate="any")
QUERY = EvidenceQuery(
    experiment="captions",
    uid="u",
    arms=("stable", "new"),
    columns=(CLICKS, CLICKED, SPENT, RANKINGS, SHOWN),
    before=(SPENT, CLICKS, RANKINGS),
    window=timedelta(hours=6),
    before_span=timedelta(hours=12),
    as_of=datetime.fromtimestamp(BEGAN + 60 * HOUR, UTC),
    caps={"purchase_sum": 40.5, "click_count_before": 1.0},
)


class Book:
    """A database that is filled in this process, with a clock of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, BEGAN
        self.connection = open_for_writing(folder, KEY.encode())
        self.ledger = Ledger(self.connection, late_seconds=60, now=lambda: self.now)
        self.reader = EventReader(KEY.encode(), now=lambda: BEGAN + 1e6, age=1e8, limit=100_000)

    def send(self, events: Sequence[Seen | Did], sender: str = "shop") -> None:
        """Outcomes arrive when the last of them says."""
        shown = [
            exposure(e.id, e.user, e.time, key=KEY, uid=e.uid, arm=e.arm, captioned=e.captioned)
            for e in events
            if isinstance(e, Seen)
        ]
        done = [outcome(e.id, e.user, e.time, event=e.event, value=e.value) for e in events if isinstance(e, Did)]
        exposures, outcomes = self.reader.exposures(orjson.dumps(shown)), self.reader.outcomes(orjson.dumps(done))
        assert not exposures.faults
        assert not outcomes.faults
        self.now = max([self.now, *(e.arrived for e in events if isinstance(e, Did))])
        with self.transaction():
            self.ledger.add_exposures(exposures.rows)
            self.ledger.add_outcomes(outcomes.rows, sender=sender)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction, whose commit is the outermost's."""
        outermost = not self.connection.in_transaction
        if outermost:
            self.connection.execute("BEGIN IMMEDIATE")
        yield
        if outermost:
            self.connection.execute("COMMIT")

    def evidence(self, query: EvidenceQuery) -> Evidence:
        with closing(open_for_reading(self.folder)) as connection:
            columns.install(connection)
            return join.evidence(connection, query)

    def quantiles(self, query: QuantilesQuery) -> Any:
        with closing(open_for_reading(self.folder)) as connection:
            columns.install(connection)
            return quantiles(connection, query)
