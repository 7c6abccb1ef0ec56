"""Every field is bounded, and so is the number of different names of a field; a name goes with its last event."""

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from serving.rollout.collector import schema
from serving.rollout.collector.events import EventReader
from serving.rollout.collector.ledger import Added, Ledger
from serving.rollout.collector.words import FIELDS
from tests.collector.process import KEY
from tests.collector.sent import exposure, outcome, pseudonym

NOW = 1_750_000_000.0
LONGEST = 253


class Store:
    """A collector's reader and tables, without the process."""

    def __init__(self, folder: Path, names: int = 50) -> None:
        self.folder, self.now = folder, NOW
        self.connection = schema.open_for_writing(folder, KEY.encode())
        self.ledger = Ledger(self.connection, late_seconds=60, now=lambda: self.now, names=names)
        self.reader = EventReader(KEY.encode(), now=lambda: self.now, age=1e8, limit=100_000)

    def add(self, kind: str, events: list[dict[str, Any]]) -> Added:
        batch: Any = getattr(self.reader, kind)(orjson.dumps(events))
        self.faults = batch.faults
        by = ["shop"] if kind == "outcomes" else []
        return self._do(getattr(self.ledger, f"add_{kind}"), batch.rows, *by)

    def forget(self, *users: str) -> None:
        self._do(self.ledger.forget, [bytes.fromhex(pseudonym(user, KEY)) for user in users])

    def expire(self, before: float) -> None:
        self._do(self.ledger.expire, before, 10_000)

    def words(self) -> set[tuple[str, str, int]]:
        return set(self.connection.execute("SELECT field, word, uses FROM words"))

    def bytes(self) -> bytes:
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return b"".join(path.read_bytes() for path in self.folder.iterdir())

    def _do(self, work: Any, *given: Any) -> Any:
        self.connection.execute("BEGIN IMMEDIATE")
        done = work(*given)
        self.connection.execute("COMMIT")
        return done


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.connection.close()


def named(event: int, name: str, user: str = "eve") -> dict[str, Any]:
    fields = dict.fromkeys(("experiment", "uid", "arm", "served", "model", "bundle_id", "contract_digest"), name)
    return exposure(f"e{event}", user, NOW, key=KEY, **fields)


def test_forty_requests_with_a_new_name_in_every_event_leave_bounded_bytes_and_a_known_name_is_still_taken(
    store: Store,
) -> None:
    chance = random.Random(1)
    known = store.add("exposures", [exposure("honest", "ann", NOW, key=KEY)])
    assert known.stored == 1
    refused = 0
    for request in range(40):
        events = [named(request * 100 + n, f"{chance.getrandbits(1000):0{LONGEST}d}"[:LONGEST]) for n in range(100)]
        added = store.add("exposures", events)
        refused += len(added.unnamed)
        assert added.stored + len(added.unnamed) == 100
    assert refused == 4000 - 49
    assert len(store.bytes()) < 500_000
    assert set(store.ledger.names) == set(FIELDS)
    assert max(store.ledger.names.values()) == 50
    full = store.add("exposures", [named(9999, "one more")]).unnamed[0]
    assert (full.field, full.word, full.limit) == ("uid", "one more", 50)
    assert store.add("exposures", [exposure("honest 2", "bob", NOW, key=KEY)]).stored == 1
    assert store.add("outcomes", [outcome("o", "ann", NOW)]).stored == 1, "the names of one field are not another's"


def test_an_event_that_is_refused_leaves_no_name(store: Store) -> None:
    store.add("exposures", [named(1, "first")])
    before = store.words()
    conflict = store.add("exposures", [named(1, "second")])
    assert (conflict.conflicts, store.words()) == ((0,), before)
    store.add("exposures", [named(1, "first")])
    assert store.words() == before, "a repeated event has its names once"


def test_names_go_with_the_last_event_that_has_them_by_forget_and_by_retention(store: Store) -> None:
    store.add("exposures", [exposure("ann's", "ann", NOW, key=KEY, model="shared"), named(1, "only-eve-had-this")])
    store.add("outcomes", [outcome("o1", "eve", NOW, event="only_eve_did_this"), outcome("o2", "ann", NOW)])
    assert {use for field, word, use in store.words() if (field, word) == ("arm", "only-eve-had-this")} == {2}
    store.forget("eve")
    assert {"shared", "click", "stable"} <= {word for _, word, _ in store.words()}
    assert not any("eve" in word for _, word, _ in store.words())
    assert b"only-eve" not in store.bytes()
    assert b"only_eve" not in store.bytes()
    store.now = NOW + 100
    store.add("outcomes", [outcome("o3", "ann", NOW + 100, event="later")])
    store.expire(NOW + 50)
    assert store.words() == {("event", "later", 1)}
    assert b"shared" not in store.bytes()
    assert store.ledger.names == {field: int(field == "event") for field in FIELDS}


def test_a_name_that_was_given_in_a_transaction_that_failed_is_given_again(store: Store) -> None:
    batch = store.reader.outcomes(orjson.dumps([outcome("o", "ann", NOW)]))
    store.connection.execute("BEGIN IMMEDIATE")
    store.ledger.add_outcomes(batch.rows, sender="shop")
    store.connection.execute("ROLLBACK")
    store.ledger.rolled_back()
    assert store.ledger.names["event"] == 0
    assert store.add("outcomes", [outcome("o", "ann", NOW)]).stored == 1
    assert store.words() == {("event", "click", 1)}


LONG = "x" * 10_000
FIELDS_TOO_LARGE: list[tuple[dict[str, Any], str]] = [
    *(({name: LONG}, f"data.{name}") for name in ("experiment", "uid", "arm", "served", "model", "bundle_id")),
    ({"contract_digest": LONG}, "data.contract_digest"),
    ({"uid": "line\nbreak"}, "data.uid"),
    ({"arm": ""}, "data.arm"),
    ({"fallback": LONG}, "data.fallback"),
    ({"degraded": ["a"] * 100}, "data.degraded"),
    ({"degraded": [LONG]}, "data.degraded.0"),
    ({"items": ["i"] * 5000}, "data.items"),
    ({"items": [LONG]}, "data.items.0"),
    ({"items": ["i" * 512] * 600}, "data.items"),
    ({"scores": [0.5] * 5000}, "data.scores"),
    ({"another": LONG}, "data.another"),
    ({"y" * 100_000: 1}, "data." + "y" * 100),
    ({"model": {"a": {"b": 1}}}, "data.model"),
]


@pytest.mark.parametrize(("fields", "field"), FIELDS_TOO_LARGE, ids=[f"{n}" for n in range(len(FIELDS_TOO_LARGE))])
def test_every_field_of_an_exposure_is_bounded_and_the_answer_too(
    store: Store, fields: dict[str, Any], field: str
) -> None:
    assert store.add("exposures", [exposure("e", "ann", NOW, key=KEY, **fields)]).stored == 0
    (fault,) = store.faults
    assert fault.field == field
    assert len(orjson.dumps(fault.payload())) < 1000


def test_an_envelope_has_a_bounded_number_of_attributes(store: Store) -> None:
    event = exposure("e", "ann", NOW, key=KEY)
    assert store.add("exposures", [event | {f"a{n}": n for n in range(20)}]).stored == 1
    assert store.add("exposures", [event | {f"a{n}": n for n in range(50)}]).stored == 0
    assert store.faults[0].expected == "at most 32"


FORMAT_1 = """
DROP TABLE words; DROP TABLE experiments;
CREATE TABLE words (number INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
CREATE TABLE experiments (uid INTEGER PRIMARY KEY, began REAL NOT NULL);
INSERT INTO words VALUES (1, 'captions'), (2, 'stable'), (3, 'x'), (4, 'click'), (5, 'nobody has this');
INSERT INTO experiments VALUES (1, 7.0);
INSERT INTO exposures VALUES (1, x'01', x'aa', 1, 2, 7.0, 1, 1, 3, 3, 3, 3, 10, 5, 0.1, NULL, 8);
INSERT INTO firsts VALUES (x'aa', 1, 2, 7.0, 5, 0);
INSERT INTO outcomes (seq, id, user, event, time, value, received) VALUES (1, x'02', x'aa', 4, 8.0, 1.0, 9);
INSERT INTO outcomes (seq, id, user, event, time, value, received) VALUES (2, x'03', x'aa', 3, 8.0, 1.0, 9);
UPDATE meta SET value = 1 WHERE name IN ('format', 'exposures');
UPDATE meta SET value = 2 WHERE name = 'outcomes';
"""


def test_a_database_of_the_release_before_is_read_and_its_unused_names_are_gone(tmp_path: Path) -> None:
    schema.open_for_writing(tmp_path, KEY.encode()).close()
    with sqlite3.connect(tmp_path / schema.FILE) as old:
        old.executescript(FORMAT_1)
    old.close()
    store = Store(tmp_path)
    assert store.words() == {
        *(("uid", "captions", 1), ("experiment", "captions", 1), ("arm", "stable", 1), ("arm", "x", 1)),
        *(("model", "x", 1), ("bundle_id", "x", 1), ("contract_digest", "x", 1), ("event", "click", 1)),
        ("event", "x", 1),
    }
    told = "SELECT u.word, a.word, s.word, m.word, x.word FROM exposures e, words u, words a, words s, words m, words x"
    told += " WHERE u.number = uid AND a.number = arm AND s.number = served AND m.number = model"
    told += " AND x.number = experiment"
    assert list(store.connection.execute(told)) == [("captions", "stable", "x", "x", "captions")]
    events = "SELECT field, word FROM outcomes JOIN words ON number = event ORDER BY seq"
    assert list(store.connection.execute(events)) == [("event", "click"), ("event", "x")]
    assert store.connection.execute("SELECT began FROM experiments").fetchall() == [(7.0,)]
    store.expire(time.time())
    assert store.words() == set()
    store.connection.close()
    again = Store(tmp_path)
    assert again.connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() == (schema.FORMAT,)
    again.connection.close()
