"""`sightline experiment status` and `watch`: what is told, and for how long it is followed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from serving.cli.main import app
from serving.cluster.connection import connect
from serving.cluster.errors import ClusterError, DeniedError, MissingError
from serving.cluster.experiments import follow

Made = Callable[..., dict[str, Any]]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def said(*arguments: str) -> str:
    result = run("experiment", *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def running(made: Made, seen: Made, **more: Any) -> dict[str, Any]:
    fields = {"stage": 3, "looks": [seen(1, "pending", -0.05, 0.15)], **more}
    return made("Running", fields=fields)


def test_experiments_are_listed_in_a_line_each(api: Any, made: Made, seen: Made) -> None:
    api.put(running(made, seen))
    api.put(made(None, name="fresh"))
    api.put(made("Running", name="elsewhere", paused=True), "lab")
    listed = said("status")
    assert "captions" in listed
    assert "50 %" in listed
    assert "1,000 / 1,001" in listed
    assert "+5 %" in listed
    assert "[−5 %, +15 %]" in listed
    assert "Pending" in listed
    assert "elsewhere" not in listed
    assert "Running (paused)" in said("status", "--all-namespaces")
    document = json.loads(run("--json", "experiment", "status").stdout)
    assert [each["name"] for each in document] == ["fresh", "captions"]
    assert (document[1]["share"], document[1]["low"], document[1]["end"]) == (50, -0.05, "waiting")


def test_one_that_cannot_be_read_does_not_hide_the_others(api: Any, made: Made) -> None:
    api.put(made("Running"))
    api.put({"metadata": {"name": "broken"}, "spec": {}})
    result = run("experiment", "status")
    assert result.exit_code == 0
    assert "captions" in result.stdout
    assert "Experiment broken in shop: spec cannot be read" in " ".join(result.stderr.split())


def test_one_experiment_is_shown_verdict_first(api: Any, made: Made, seen: Made) -> None:
    reading = {"name": "p99", "at": "2026-11-03T09:00:00Z", "value": 0.05, "limit": 0.2}
    entry = {"at": "2026-11-03T09:00:00Z", "reason": "StageBegan", "message": "Stage 4 of 4 [bold]"}
    api.put(running(made, seen, readings=[reading], log=[entry], changeRefused="spec.analysis changed"))
    shown = said("status", "captions")
    assert shown.startswith("Experiment captions in shop: Running, 50 % of users No verdict yet: at 50 % of users")
    for part in ("0.05 s", "0.2 s", "kept", "StageBegan", "Stage 4 of 4 [bold]", "spec.analysis changed"):
        assert part in shown
    assert "Arms' sizes 1,000 / 1,001 fit equal shares (p 0.90)" in shown
    document = json.loads(run("--json", "experiment", "status", "captions").stdout)
    assert document["state"]["stage"] == 3
    assert document["verdictInWords"]["end"] == "waiting"


def test_an_experiment_that_no_controller_saw_says_so(api: Any, made: Made) -> None:
    api.put(made(None))
    assert "no controller has seen the experiment" in said("status", "captions")


def test_watching_tells_each_decision_once_until_the_end(api: Any, made: Made, seen: Made) -> None:
    def entry(hour: int, reason: str) -> dict[str, Any]:
        return {"at": f"2026-11-03T{hour:02d}:00:00Z", "reason": reason, "message": f"{reason} happened"}

    first = running(made, seen, log=[entry(9, "StageBegan")])
    api.put(copy.deepcopy(first))
    looked = running(made, seen, log=[entry(9, "StageBegan"), entry(11, "Paused")])
    won = made("Won", fields={"log": [entry(9, "StageBegan"), entry(11, "Paused"), entry(13, "Won")]})
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    api.streams = [
        [("MODIFIED", looked)],
        [("ERROR", gone)],
        [("BOOKMARK", copy.deepcopy(looked))],
        [("MODIFIED", won)],
    ]
    result = run("experiment", "watch", "captions")
    assert result.exit_code == 0, (result.output, result.exception)
    for reason in ("StageBegan", "Paused", "Won"):
        assert result.stdout.count(f"{reason} happened") == 1
    assert "Running, 50 % of users, users 1,000 / 1,001, lift +5 % [−5 %, +15 %]" in " ".join(result.stdout.split())
    assert sum("watch=true" in path for _, path in api.requests) == 4
    assert all("fieldSelector=metadata.name%3Dcaptions" in path for _, path in api.requests if "watch=true" in path)


@pytest.mark.parametrize(("phase", "code"), [("Promoted", 0), ("Won", 0), ("RolledBack", 1), ("Inconclusive", 1)])
def test_the_exit_code_tells_a_win_from_the_rest(api: Any, made: Made, phase: str, code: int) -> None:
    api.put(made(phase))
    assert run("experiment", "watch", "captions").exit_code == code


def test_watching_as_json_gives_a_document_per_line(api: Any, made: Made, seen: Made) -> None:
    api.put(running(made, seen))
    entry = {"at": "2026-11-04T09:00:00Z", "reason": "Harm", "message": "worse"}
    api.streams = [[("MODIFIED", made("RolledBack", fields={"log": [entry]}))]]
    result = run("--json", "experiment", "watch", "captions")
    first, last = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["phase"], first["entries"]) == ("Running", [])
    assert (last["phase"], last["end"], last["entries"][0]["reason"]) == ("RolledBack", "harm", "Harm")


def test_a_change_between_two_watches_is_not_missed(api: Any, made: Made) -> None:
    """The stream ends, the object changes, and no event of it ever comes."""
    api.put(made("Running"))
    api.on_watch = lambda: api.put(made("Won"))
    assert run("experiment", "watch", "captions").exit_code == 0


def test_a_deleted_experiment_ends_the_watch_with_an_error(api: Any, made: Made) -> None:
    api.put(made("Running"))
    api.streams = [[("DELETED", made("Running"))]]
    result = run("experiment", "watch", "captions")
    assert isinstance(result.exception, ClusterError)
    assert "was deleted before it ended" in str(result.exception)
    with pytest.raises(MissingError):
        next(follow(connect(), "captions", "shop"))


def test_an_api_that_is_away_is_waited_for_within_bounds(api: Any, made: Made) -> None:
    api.put(made("Running"))
    naps: list[float] = []
    changes = follow(connect(), "captions", "shop", patience_seconds=30, sleep=naps.append)
    assert next(changes)["status"]["state"]["phase"] == "Running"
    api.put(made("Won"))
    api.away = 3
    assert next(changes)["status"]["state"]["phase"] == "Won"
    assert naps == [5.0] * 3
    naps.clear()
    api.away = 100
    with pytest.raises(ClusterError, match="unable to handle the request"):
        next(changes)
    assert naps == [5.0] * 6


def test_missing_rights_are_not_waited_for(api: Any, made: Made) -> None:
    api.put(made("Running"))
    changes = follow(connect(), "captions", "shop", sleep=lambda _: pytest.fail("it waited"))
    next(changes)
    api.forbidden.add("GET")
    with pytest.raises(DeniedError):
        next(changes)
