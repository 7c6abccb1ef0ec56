"""`sightline experiment plan` and `report`: the answer first, numbers from history, files that are whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import yaml
from typer.testing import CliRunner, Result

from serving.cli.experiment_faults import ExperimentFileError
from serving.cli.experiment_history import HistoryError, visits
from serving.cli.main import app
from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.report.document import Report
from serving.rollout.report.folder import FolderError
from serving.rollout.report.resource import ResourceError
from serving.rollout.statistics.plan import PlanError

Made = Callable[..., dict[str, Any]]
TRAFFIC = ("--users-per-day", "200000", "--users-per-month", "900000")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def planned(*arguments: str) -> dict[str, Any]:
    result = run("--json", "experiment", "plan", *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def refused(kind: type[Exception], *arguments: str) -> str:
    result = run("experiment", *arguments)
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


def test_an_effect_too_small_for_the_traffic_is_called_so_outright() -> None:
    result = run("experiment", "plan", *TRAFFIC, "--cv", "2", "--correlation", "0.6", "--effect", "0.02%")
    assert result.exit_code == 0
    said = " ".join(result.output.split())
    assert said.startswith("An effect of +0.02 % cannot be seen with this traffic")
    for part in (
        "times what 28 days bring",
        "CUPED (correlation 0.6) saves 36 % of the users",
        "plannedUsers:",
        "always-valid",
    ):
        assert part in said


def test_options_reach_the_plan() -> None:
    short = (*TRAFFIC, "--days", "8")
    wide = planned(*short, "--cv", "2", "--effect", "5%")
    assert (wide["wanted"], wide["seen"], len(wide["days"])) == (0.05, True, 8)
    assert wide["plannedUsers"] == round(2 * wide["users"])
    assert planned(*short, "--mean", "3", "--sd", "6", "--effect", "0.05") == wide
    assert planned(*short, "--cv", "2", "--correlation", "0.6")["detectable"] < wide["detectable"]
    assert planned(*TRAFFIC, "--cv", "2", "--days", "7")["detectable"] > wide["detectable"]
    strict = planned(*short, "--cv", "2", "--alpha", "0.01", "--power", "0.9")
    assert strict["detectable"] > wide["detectable"]
    assert "alpha 0.01, power 90%" in strict["verdict"]
    fixed = planned(*short, "--cv", "2", "--method", "fixed")
    assert (fixed["method"], fixed["detectable"] < wide["detectable"]) == ("fixed-horizon", True)
    small = planned(*short, "--cv", "2", "--shares", "1:2d,10%")
    assert small["costs"]["share"] == pytest.approx(5)
    assert small["detectable"] > wide["detectable"]
    assert planned(*short, "--cv", "2", "--window", "7d")["days"][6]["users"] == 0


def test_without_monthly_users_the_worst_case_is_planned_and_said() -> None:
    worst = planned("--users-per-day", "200000", "--cv", "2", "--days", "8")
    assert worst["notes"][0].startswith("Every day is taken to bring the same users, which is the worst case")
    assert worst["detectable"] > planned(*TRAFFIC, "--cv", "2", "--days", "8")["detectable"]


def test_an_experiments_file_gives_schedule_and_method(tmp_path: Path, given: Callable[..., Any]) -> None:
    file = tmp_path / "captions.yaml"
    analysis = {"plannedUsers": 1000, "method": "group-sequential", "maximumTime": "8d", "attributionWindow": "2d"}
    file.write_text(yaml.safe_dump(given(analysis=analysis, schedule={"stages": [{"share": 20}]})))
    made = planned(*TRAFFIC, "--cv", "2", "--experiment", str(file))
    assert (made["method"], len(made["days"]), made["days"][0]["share"]) == ("group-sequential", 8, 0.2)
    assert planned(*TRAFFIC, "--cv", "2", "--experiment", str(file), "--method", "fixed")["method"] == "fixed-horizon"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cv", "2"), "give --users-per-day, or --history"),
        (TRAFFIC, "without a spread no effect can be planned"),
        ((*TRAFFIC, "--cv", "2", "--mean", "1"), "give --cv, or --mean and --sd"),
        ((*TRAFFIC, "--cv", "2", "--effect", "much"), "expected a relative effect: 1% or 0.01"),
    ],
)
def test_what_is_missing_is_asked_for(arguments: tuple[str, ...], says: str) -> None:
    result = run("experiment", "plan", *arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.output.replace("│", " ").split())


def test_settings_that_no_experiment_can_have_are_refused() -> None:
    said = refused(ExperimentFileError, "plan", *TRAFFIC, "--cv", "2", "--shares", "60,x", "--window", "week")
    for part in ("3 faults", "stages[0].share", "stages[1].share", "attributionWindow"):
        assert part in said
    assert "wanted is 0" in refused(PlanError, "plan", *TRAFFIC, "--cv", "2", "--effect", "0")
    assert "mean is 0" in refused(PlanError, "plan", *TRAFFIC, "--mean", "0", "--sd", "2")


def rows(days: int = 40, users: int = 400) -> dict[str, Any]:
    draw = np.random.default_rng(3)
    taste = draw.gamma(2.0, 1.0, users)
    day, user = (each.ravel() for each in np.meshgrid(np.arange(days), np.arange(users), indexing="ij"))
    came = draw.random(len(day)) < 0.3
    day, user = day[came], user[came]
    dates = np.datetime64("2026-09-01") + day.astype("timedelta64[D]")
    return {"user": [f"u{each}" for each in user], "day": dates, "value": draw.poisson(taste[user]).astype(float)}


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_history_is_measured(tmp_path: Path, suffix: str) -> None:
    table, file = pa.table(rows()), tmp_path / f"it's.{suffix}"
    pa.parquet.write_table(table, file) if suffix == "parquet" else pa.csv.write_csv(table, file)
    read = visits(file)
    assert (len(set(read.users)), read.days.max() - read.days.min()) == (400, 39)
    assert read.values.sum() == pytest.approx(sum(rows()["value"]))
    made = planned("--history", str(file), "--effect", "5%", "--days", "8")
    assert made["history"]["users"] > 300
    assert 0.3 < made["history"]["correlation"] < 1
    assert made["notes"][0].startswith("Users of later days")
    shown = run("experiment", "plan", "--history", str(file), "--days", "8").output
    assert "History:" in shown


def test_rows_of_one_day_are_added_up_and_days_may_be_numbers(tmp_path: Path) -> None:
    table = {
        "user": [1, 1, 2],
        "day": [3, 3, 4],
        "value": [1.0, 2.0, 5.0],
        "denominator": [1.0, 1.0, 4.0],
        "x": [0] * 3,
    }
    pa.parquet.write_table(pa.table(table), tmp_path / "h.parquet")
    read = visits(tmp_path / "h.parquet")
    assert sorted(zip(read.days.tolist(), read.values.tolist(), strict=True)) == [(3, 3.0), (4, 5.0)]
    assert read.denominators is not None
    assert sorted(read.denominators.tolist()) == [2.0, 4.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user,day\n1,2026-01-01\n", "value is missing"),
        ("user,day,value\n1,2026-01-01,\n1,2026-01-02,3\n", "value is empty or no number in 1 rows"),
        ("user,day,value\n1,2026-01-01,NaN\n1,2026-01-02,3\n", "value is empty or no number in 1 rows"),
        ("user,day,value\n,2026-01-01,2\n1,2026-01-02,3\n", "user is empty"),
        ("user,day,value\n1,yesterday,2\n", "correct the file"),
    ],
)
def test_a_history_that_cannot_be_used_says_why(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "h.csv"
    file.write_text(text)
    assert says in refused(HistoryError, "plan", "--history", str(file))
    assert "expected a file that is there" in refused(HistoryError, "plan", "--history", str(tmp_path / "no.csv"))


def test_a_history_and_numbers_together_are_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table(rows(20, 50)), tmp_path / "h.parquet")
    result = run("experiment", "plan", "--history", str(tmp_path / "h.parquet"), "--cv", "2")
    assert "leave those options out" in " ".join(result.output.replace("│", " ").split())
    assert "the history has 20 days" in refused(
        PlanError, "plan", "--history", str(tmp_path / "h.parquet"), "--window", "10d"
    )


def won(made: Made, seen: Made) -> dict[str, Any]:
    looks = [seen(1, "pending", -0.05, 0.15), seen(8, "win", 0.01, 0.09)]
    reading = {"name": "p99", "at": "2026-11-03T09:00:00Z", "value": 0.05, "limit": 0.2}
    return made("Won", fields={"stage": 3, "outcome": "win", "looks": looks, "readings": [reading]})


def test_a_report_is_written_from_the_cluster(api: Any, made: Made, seen: Made, tmp_path: Path) -> None:
    api.put(won(made, seen))
    folder = tmp_path / "made" / "here"
    result = run("experiment", "report", "captions", "--out", str(folder))
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Win: clicks is 5 % higher with the candidate" in " ".join(result.output.split())
    names = {each.name for each in folder.iterdir()}
    assert names == {
        "report.html", "report.json", "plot-lift.png", "plot-cumulative.png", "plot-sizes.png", "plot-guardrails.png",
    }  # fmt: skip
    document = Report.model_validate_json((folder / "report.json").read_bytes())
    assert document.verdict.headline in (folder / "report.html").read_text()


def test_a_report_is_written_from_a_saved_resource_and_replaces_an_older_one(
    api: Any, made: Made, seen: Made, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.yaml"
    saved.write_text(yaml.safe_dump(api.put(won(made, seen))))
    requests = len(api.requests)
    result = run("--json", "experiment", "report", "--file", str(saved), "--out", str(tmp_path / "out"))
    document = json.loads(result.stdout)
    assert document["report"]["verdict"]["end"] == "win"
    assert len(document["files"]) == 6
    saved.write_text(yaml.safe_dump(api.put(made("Aborted"))))
    run("experiment", "report", "--file", str(saved), "--out", str(tmp_path / "out"))
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"report.html", "report.json"}
    assert len(api.requests) == requests


def test_a_report_that_cannot_be_made_says_why(api: Any, made: Made, tmp_path: Path) -> None:
    assert run("experiment", "report").exit_code == 2
    (tmp_path / "bad.yaml").write_text("a: [")
    assert "cannot be read as YAML" in refused(ResourceError, "report", "--file", str(tmp_path / "bad.yaml"))
    (tmp_path / "bad.yaml").write_text("- 1")
    assert "expected one Experiment" in refused(ResourceError, "report", "--file", str(tmp_path / "bad.yaml"))
    api.put(made("Running"))
    (tmp_path / "file").write_text("")
    said = refused(FolderError, "report", "captions", "--out", str(tmp_path / "file"))
    assert "give another folder with --out" in said
    said = refused(EvidenceError, "report", "captions", "--collector", "http://127.0.0.1:1")
    assert "has had no look" in said


def test_a_collector_that_is_away_is_told(api: Any, made: Made, seen: Made, tmp_path: Path) -> None:
    api.put(won(made, seen))
    arguments = ("--collector", "http://127.0.0.1:1", "--out", str(tmp_path / "out"))
    assert "does not answer" in refused(EvidenceError, "report", "captions", *arguments)
    assert not (tmp_path / "out").exists()


SAMPLE = str(Path(__file__).parents[2] / "manifests" / "samples" / "experiment.yaml")


def test_a_plan_of_an_experiment_plans_its_guardrails_and_stages() -> None:
    made = planned("--users-per-day", "5000", "--cv", "2", "--experiment", SAMPLE)
    faults = made["guardrails"]["faults"]
    assert any("guardrail latency would never be read at 5,000 rankings a day" in each for each in faults)
    assert any("stage 1 (1 % of users) meets about 2.1 users in its 1h" in each for each in faults)
    assert made["notes"][0].startswith("Every user is taken to be ranked once a day: give --rankings-per-day")
    more = planned(*TRAFFIC, "--cv", "2", "--experiment", SAMPLE, "--rankings-per-day", "3e6")
    assert more["guardrails"]["faults"] == []
    assert {each["read_over"] for each in more["guardrails"]["watched"]} == {300}


def test_days_that_say_the_same_are_one_row() -> None:
    shown = run("experiment", "plan", "--users-per-day", "200000", "--cv", "2.1", "--days", "9").output
    assert "7 to 9" in shown
    assert "3 to 6" in shown
    by_day = shown.partition("By method")[0]
    rows = [tuple(line.split("│")[2:]) for line in by_day.splitlines() if line.startswith("│") and "%" in line]
    assert len(rows) == 4
    assert len(set(rows)) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("--days", "100000"),
        ("--days", "0"),
        ("--users-per-day", "1e12"),
        ("--users-per-day", "0"),
        ("--cv", "nan"),
        ("--power", "inf"),
        ("--rankings-per-day", "-5"),
    ],
)
def test_numbers_beyond_any_experiment_are_refused_at_once(arguments: tuple[str, ...]) -> None:
    result = run("experiment", "plan", "--users-per-day", "1000", "--cv", "2", *arguments)
    assert result.exit_code == 2, result.output
    assert arguments[0] in result.output


def test_a_long_plan_looks_seldom_and_keeps_its_last_day() -> None:
    days = [each["day"] for each in planned(*TRAFFIC, "--cv", "2", "--days", "120", "--method", "fixed")["days"]]
    assert days[:28] == list(range(1, 29))
    assert days[28:] == [35, 42, 49, 56, 63, 70, 77, 84, 112, 120]
