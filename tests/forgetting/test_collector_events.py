"""A user's events are out of a collector by one command, which needs the right `forget`."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.collector.conftest import collector as collector  # the fixture
from tests.collector.process import KEY, TOKENS, Process
from tests.collector.sent import exposure, outcome, pseudonym
from tests.forgetting.user_command import user

NOW = time.time()


def test_a_user_is_found_forgotten_and_found_no_more(collector: Callable[..., Process], tmp_path: Path) -> None:
    process = collector()
    process.post("/v1/exposures", [exposure("e1", "ann", NOW, key=KEY, model="ann-alone")])
    process.post("/v1/outcomes", [outcome("o1", "ann", NOW), outcome("o2", "bob", NOW)])
    token = tmp_path / "token"
    token.write_text(f"{TOKENS['forget']}\n")
    given = {"SIGHTLINE_COLLECTOR_TOKEN_FILE": str(token)}
    where = ("--collector", process.url)
    assert user("find", "ann", *where, code=3, **given)["places"][0]["there"] == {"exposures": 1, "outcomes": 1}
    answer = user("forget", "ann", *where, **given)
    assert answer["places"][0]["removed"] == {"exposures": 1, "outcomes": 1}
    assert answer["gone"] is True
    files = b"".join(path.read_bytes() for path in process.database.iterdir())
    assert bytes.fromhex(pseudonym("ann", KEY)) not in files
    assert b"ann-alone" not in files
    assert user("find", "bob", *where, code=3, **given)["places"][0]["there"] == {"exposures": 0, "outcomes": 1}

    wrong = user("forget", "bob", *where, code=1, SIGHTLINE_COLLECTOR_TOKEN=TOKENS["outcomes"])
    assert "has the right 'outcomes'" in wrong["places"][0]["fault"]
    assert "SIGHTLINE_COLLECTOR_TOKEN_FILE" in wrong["places"][0]["fault"]
    process.end()
    away = user("forget", "bob", *where, "--store", str(tmp_path / "none"), code=1, **given)
    assert "does not answer" in away["places"][1]["fault"]
    assert "no data.mdb" in away["places"][0]["fault"], "one place that fails does not keep the others from being asked"
