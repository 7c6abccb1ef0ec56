"""`sightline experiment pause|resume|approve|abort|promote|rollback`: what is patched, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from serving.cli.main import app
from serving.cluster.errors import ClusterError, ConflictError, DeniedError, MissingError

REASON = "sightline.dev/reason"
Made = Callable[..., dict[str, Any]]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def done(*arguments: str) -> str:
    result = run("experiment", *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def refused(kind: type[Exception], *arguments: str) -> str:
    result = run("experiment", *arguments)
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


def test_pausing_sets_one_field_and_nothing_else(api: Any, made: Made) -> None:
    before = api.put(made("Running"))["spec"].copy()
    assert "captions is paused" in done("pause", "captions", "--reason", "holidays")
    after = api.objects["shop", "captions"]
    assert after["spec"] == {**before, "paused": True}
    assert after["metadata"]["annotations"] == {REASON: "holidays"}
    assert after["status"]["state"]["phase"] == "Running"
    done("resume", "captions")
    assert after["spec"]["paused"] is False


def test_rolling_back_is_aborting_with_a_reason(api: Any, made: Made) -> None:
    api.put(made("Running"))
    assert run("experiment", "rollback", "captions").exit_code == 2
    assert "users get stable within seconds" in done("rollback", "captions", "--reason", "wrong bundle")
    found = api.objects["shop", "captions"]
    assert (found["spec"]["aborted"], found["metadata"]["annotations"][REASON]) == (True, "wrong bundle")


def test_aborting_needs_no_controller(api: Any, made: Made) -> None:
    api.put(made())
    done("abort", "captions")
    assert api.objects["shop", "captions"]["spec"]["aborted"] is True
    assert "annotations" not in api.objects["shop", "captions"]["metadata"]


@pytest.mark.parametrize(
    ("phase", "changes", "command", "says"),
    [
        ("Won", {}, "pause", "has ended (Won)"),
        ("RolledBack", {}, "abort", "has ended (RolledBack)"),
        ("Running", {"paused": True}, "pause", "is paused already"),
        ("Running", {}, "resume", "is not paused already"),
        ("Stopping", {"aborted": True}, "pause", "pausing it would do nothing"),
        ("Running", {"promotion": "manual"}, "approve", "has not won, and only a winner is promoted"),
        ("Running", {"promotion": "automatic"}, "approve", "promotes by itself"),
        ("Won", {}, "approve", "has promotion: report and waits for nobody"),
        ("Running", {}, "promote", "has not won"),
        ("RolledBack", {}, "promote", "has not won, and only a winner is promoted. Rolled back: the hint"),
    ],
)
def test_what_would_do_nothing_is_refused(
    api: Any, made: Made, phase: str, changes: dict[str, Any], command: str, says: str
) -> None:
    api.put(made(phase, **changes))
    assert says in refused(ClusterError, command, "captions")
    assert not [method for method, _ in api.requests if method == "PATCH"]


@pytest.mark.parametrize("command", ["approve", "promote"])
def test_a_winner_that_waits_is_approved(api: Any, made: Made, command: str) -> None:
    api.put(made("WaitingForApproval", promotion="manual"))
    assert "is approved" in done(command, "captions")
    assert api.objects["shop", "captions"]["spec"]["approved"] is True


def test_with_promotion_report_it_is_said_what_to_run(api: Any, made: Made) -> None:
    api.put(made("Won", fields={"message": "The candidate has won. To promote: kubectl patch this"}))
    assert "nothing was changed. The candidate has won. To promote: kubectl patch this" in done("promote", "captions")
    document = json.loads(run("--json", "experiment", "promote", "captions").stdout)
    assert document["changed"] is False
    assert not [method for method, _ in api.requests if method == "PATCH"]


def test_a_conflict_is_met_by_reading_again(api: Any, made: Made) -> None:
    api.put(made("Running"))
    others = iter([True, True, False])

    def controller(found: dict[str, Any]) -> None:
        if next(others):
            found["status"]["state"]["message"] = "changed meanwhile"
            api.put(found)

    api.meddle = controller
    document = json.loads(run("--json", "experiment", "pause", "captions").stdout)
    assert document["changed"] is True
    found = api.objects["shop", "captions"]
    assert (found["spec"]["paused"], found["status"]["state"]["message"]) == (True, "changed meanwhile")
    assert [method for method, _ in api.requests] == ["GET", "PATCH"] * 3


def test_an_experiment_that_ended_meanwhile_is_not_changed(api: Any, made: Made) -> None:
    api.put(made("Running"))

    def controller(found: dict[str, Any]) -> None:
        found["status"]["state"]["phase"] = "Promoted"
        api.put(found)

    api.meddle = controller
    assert "has ended (Promoted)" in refused(ClusterError, "abort", "captions")
    assert "aborted" not in api.objects["shop", "captions"]["spec"]


def test_endless_conflicts_are_given_up(api: Any, made: Made) -> None:
    api.put(made("Running"))
    api.meddle = api.put
    assert "it changed 5 times meanwhile" in refused(ConflictError, "pause", "captions")


def test_a_missing_experiment_and_missing_rights_say_what_to_do(api: Any, made: Made) -> None:
    said = refused(MissingError, "pause", "nobody")
    assert "there is no Experiment 'nobody' here: see `sightline experiment status`" in said
    api.put(made("Running"))
    api.forbidden.add("PATCH")
    assert "ask whoever runs the cluster for a Role" in refused(DeniedError, "pause", "captions")
    assert "captions" in refused(MissingError, "abort", "captions", "--namespace", "lab")
