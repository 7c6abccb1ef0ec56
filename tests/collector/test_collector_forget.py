"""Users' data: never there under their own ids, and gone to the last byte when it is asked for."""

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import orjson
import pytest

from models.experiments.events import KEY_HEADER, key_fingerprint
from serving.transformer.exposures.collector_sink import CollectorSink
from serving.transformer.exposures.sink import Line, SinkError
from tests.collector.process import KEY, TOKENS, Process
from tests.collector.sent import UID, exposure, outcome, pseudonym

NOW = time.time()


def content(process: Process) -> bytes:
    """All bytes of all files of the collector."""
    files = [path for path in process.folder.rglob("*") if path.is_file()]
    assert len(files) >= 4  # database, WAL, shared memory, lock, log
    return b"".join(path.read_bytes() for path in files)


def test_forgotten_users_leave_no_byte_and_others_stay(collector: Callable[..., Process]) -> None:
    process = collector("--max-batch", "20000")
    users = [f"somebody-{n:04d}@example.org" for n in range(1500)]
    chance = random.Random(7)
    sent = chance.choices(users, k=6000)
    events = [outcome(f"{user} bought {n}", user, NOW - n, item=f"item {n}") for n, user in enumerate(sent)]
    shown = [exposure(f"{user} saw", user, NOW - 9000, key=KEY, items=[f"i{n}"]) for n, user in enumerate(users)]
    for at in range(0, 6000, 1000):  # so that pages split and move
        assert process.post("/v1/outcomes", events[at : at + 1000]).json()["stored"] == 1000
    assert process.post("/v1/exposures", shown).json()["stored"] == 1500
    gone = set(chance.sample(users, 200))
    pseudonyms = {user: bytes.fromhex(pseudonym(user, KEY)) for user in users}
    before = content(process)
    assert all(pseudonyms[user] in before for user in users)

    some, rest = sorted(gone)[:1], sorted(gone)[1:]
    first, second = (process.post("/v1/users/forget", {"users": [*part, "never seen"]}) for part in (some, rest))
    assert first.json()["outcomes"] + second.json()["outcomes"] == sum(user in gone for user in sent)
    assert second.json() == {"users": 200, "exposures": 199, "outcomes": second.json()["outcomes"]}
    left = content(process)
    assert [user for user in gone if pseudonyms[user] in left] == []
    assert [user for user in gone if pseudonym(user, KEY).encode() in left] == []
    assert all(pseudonyms[user] in left for user in users if user not in gone)
    assert b"somebody-" not in left
    assert b"somebody-" not in before
    assert process.metric("sightline_collector_rows", kind="exposure") == 1300
    again = process.post("/v1/users/forget", {"users": sorted(gone)})
    assert again.json() == {"users": 200, "exposures": 0, "outcomes": 0}
    assert process.end() == 0
    with sqlite3.connect(process.database / "events.sqlite3") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM firsts").fetchone() == (1300,)
    database.close()


def test_a_request_that_names_no_users_is_refused(collector: Callable[..., Process]) -> None:
    process = collector()
    for body in ({}, {"users": []}, {"users": [""]}, {"users": [7]}, {"users": "ann"}, {"user": ["ann"]}):
        answer = process.post("/v1/users/forget", body)
        assert answer.status_code in (400, 422), body
        assert "users" in answer.text


def test_forgetting_is_not_called_done_while_another_program_holds_old_pages(collector: Callable[..., Process]) -> None:
    process = collector()
    process.post("/v1/outcomes", [outcome("o", "ann", NOW)])
    reader = sqlite3.connect(process.database / "events.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM outcomes").fetchone()
    refused = process.post("/v1/users/forget", {"users": ["ann"]})
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert "another program reads the file" in refused.json()["error"]["message"]
    reader.close()
    assert process.post("/v1/users/forget", {"users": ["ann"]}).status_code == 200
    assert bytes.fromhex(pseudonym("ann", KEY)) not in content(process)


def test_a_forgotten_user_is_out_of_the_evidence(collector: Callable[..., Process]) -> None:
    process = collector()
    process.post("/v1/exposures", [exposure(f"e{n}", f"user {n}", NOW - 7200, key=KEY) for n in range(3)])
    assert process.post("/v1/users/find", {"users": ["user 1"]}).json() == {"users": 1, "exposures": 1, "outcomes": 0}
    process.post("/v1/users/forget", {"users": ["user 1"]})
    assert process.post("/v1/users/find", {"users": ["user 1"]}).json() == {"users": 1, "exposures": 0, "outcomes": 0}
    question = {
        "experiment": "captions",
        "uid": UID,
        "arms": ["stable", "new"],
        "columns": [{"event": "click", "aggregate": "sum"}],
        "before": [],
        "window_seconds": 60.0,
        "before_seconds": 0.0,
        "as_of": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "caps": {},
    }
    assert process.post("/v1/evidence", question).json()["exposed"] == {"stable": 2, "new": 0}


def test_exposures_made_under_another_key_are_refused_and_not_lost_in_silence(
    collector: Callable[..., Process],
) -> None:
    process = collector()
    shown = [exposure("e", "ann", NOW, key="another key, long enough")]
    refused = process.post("/v1/exposures", shown, headers={KEY_HEADER: key_fingerprint(b"another key, long enough")})
    assert (refused.status_code, refused.json()["error"]["field"]) == (409, KEY_HEADER)
    assert "SIGHTLINE_PSEUDONYM_KEY" in refused.text
    shown = [exposure("e", "ann", NOW, key=KEY)]
    address, token = f"{process.url}/v1/exposures", TOKENS["exposures"]
    ours, others = (
        CollectorSink(address, {"SIGHTLINE_COLLECTOR_TOKEN": token, "SIGHTLINE_PSEUDONYM_KEY": key})
        for key in (KEY, "another key, long enough")
    )
    with closing(ours), closing(others):
        assert ours.write([Line("e", NOW, orjson.dumps(shown[0]["data"]))]) == 1
        with pytest.raises(SinkError, match="answers 409"):
            others.write([Line("e2", NOW, orjson.dumps(shown[0]["data"]))])
