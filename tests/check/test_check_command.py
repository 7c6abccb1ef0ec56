"""`sightline check` on a real transformer, a real Triton and the captioning service's own front; and its faults."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.check.findings import Finding, Patience
from serving.check.question import Question
from serving.check.run import Report, Targets, check
from serving.items.lmdb_store import LmdbStore

QUESTION = Question("ranker", "196", ("1", "2", "13", "599"))
AT_ONCE = Patience(0)


@pytest.fixture
def whole(transformer: Any, triton: Any, with_captions: Any, captioner: str, picture: Path) -> Targets:
    return Targets(
        transformer.url,
        f"127.0.0.1:{transformer.grpc_port}",
        captioner,
        picture,
        f"http://127.0.0.1:{triton.http}",
        with_captions.bundle.path,
    )


@pytest.fixture
def ranking_only(whole: Targets) -> Targets:
    return replace(whole, captioner=None, picture=None)


def failures(report: Report) -> dict[str, str]:
    assert not report.good
    return {finding.name: finding.found for finding in report.findings if finding.state == "failed"}


Change = Callable[[str, Any], Any]


def crooked(url: str, change: Change) -> Starlette:
    """The transformer behind a proxy that changes its JSON: `change(path, document)`."""

    async def forward(request: Request) -> Response:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            told = await http.request(request.method, request.url.path, content=await request.body())
        return JSONResponse(change(request.url.path, told.json()), told.status_code)

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])


def test_a_whole_installation_is_well(whole: Targets, contract: Any) -> None:
    report = check(whole, QUESTION, AT_ONCE)
    assert report.good, report.findings
    assert [(f.name, f.state) for f in report.findings] == [
        ("captioner", "ok"),
        ("V1 REST", "ok"),
        ("V2 REST", "ok"),
        ("V2 gRPC", "ok"),
        ("scores", "ok"),
        ("known", "ok"),
        ("contract", "ok"),
    ]
    assert report.findings[0].found == "car.png: 'a red car' (fake@1)"
    assert report.findings[-1].found == f"{contract.digest} (V1 REST, V2 REST, V2 gRPC, Triton, bundle)"
    assert len({tuple(answer.order) for answer in report.answers}) == 1


def test_what_is_not_given_is_skipped_and_said(transformer: Any) -> None:
    report = check(Targets(transformer.url), QUESTION, AT_ONCE)
    assert report.good
    assert [f.name for f in report.findings if f.state == "skipped"] == ["captioner", "V2 gRPC"]


def test_the_command_prints_a_table_and_json_and_exits_by_what_it_saw(whole: Targets, contract: Any) -> None:
    good = sightline(whole)
    assert good.returncode == 0, good.stderr
    assert "everything that was looked at is well" in good.stdout
    assert "a red car" in good.stdout
    told = json.loads(sightline(whole, first=["--json"]).stdout)
    assert told["ok"] is True
    assert told["caption"]["text"] == "a red car"
    assert {answer["contract_digest"] for answer in told["answers"]} == {contract.digest}
    bad = sightline(whole, "--items", "1,7,nobody", "--wait", "0")
    assert bad.returncode == 1
    assert "failed: known" in bad.stdout
    assert "item store: nothing for nobody" in bad.stdout
    assert sightline(whole, "--items", "1,7,nobody", "--any").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--items", ","], "at least one item id, none empty"),
        (["--items", "1,1"], "item id '1' is given 2 times; give each once"),
        (["--transformer-http", "transformer:8080"], "expected http://host:port"),
        (["--captioner", "http://127.0.0.1:1"], "belong together"),
    ],
)
def test_a_wrong_question_is_a_usage_error(words: list[str], said: str) -> None:
    asked = ["check", "--transformer-http", "http://127.0.0.1:1", "--user", "1", "--items", "1", *words]
    answer = run_sightline(asked)
    assert answer.returncode == 2
    assert said in " ".join(answer.stderr.replace("│", " ").split())


def test_nothing_listening_is_said_and_bounded(whole: Targets, serving: Any) -> None:
    nowhere = Targets("http://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1", whole.picture)
    wrong = failures(check(nowhere, QUESTION, AT_ONCE))
    assert set(wrong) == {"captioner", "V1 REST", "V2 REST", "V2 gRPC"}
    assert "is its pod ready?" in wrong["V1 REST"]
    assert "UNAVAILABLE" in wrong["V2 gRPC"]


def test_an_address_that_refuses_connections_at_first_is_asked_again(ranking_only: Targets, serving: Any) -> None:
    straight = crooked(ranking_only.transformer_http, lambda _path, told: told)
    with serving(straight, after=1.5) as url:
        report = check(replace(ranking_only, transformer_http=url), QUESTION, Patience(30, pause=0.2))
    assert report.good, report.findings


def test_a_captioner_that_refuses_the_picture_or_writes_nothing(
    whole: Targets, serving: Any, captioner_saying: Any, tmp_path: Path
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no picture at all")
    assert "not_an_image" in failures(check(replace(whole, picture=text), QUESTION, AT_ONCE))["captioner"]
    lost = replace(whole, picture=tmp_path / "lost.png")
    assert "cannot be read" in failures(check(lost, QUESTION, AT_ONCE))["captioner"]
    with serving(captioner_saying("")) as url:
        wrong = failures(check(replace(whole, captioner=url), QUESTION, AT_ONCE))
    assert set(wrong) == {"captioner"}
    assert wrong["captioner"] == f"{url} wrote an empty caption for {whole.picture} (fake@1)"


def test_an_address_that_is_no_captioner(whole: Targets) -> None:
    wrong = failures(check(replace(whole, captioner=whole.transformer_http), QUESTION, AT_ONCE))
    assert "not as the captioning service does" in wrong["captioner"]


def test_an_unknown_model_is_named(ranking_only: Targets) -> None:
    wrong = failures(check(ranking_only, replace(QUESTION, model="rankr"), AT_ONCE))
    assert "404" in wrong["V1 REST"]
    assert "rankr" in wrong["V2 gRPC"]


def test_a_refused_question_is_not_repeated(ranking_only: Targets) -> None:
    endless = Patience(3600, sleep=lambda _: pytest.fail("a refusal was asked again"))
    wrong = failures(check(ranking_only, replace(QUESTION, user_id=""), endless))
    assert "400" in wrong["V1 REST"]
    assert "user_id" in wrong["V2 gRPC"]


def test_ways_in_that_differ_are_named_with_the_item(ranking_only: Targets, serving: Any) -> None:
    def change(path: str, told: Any) -> Any:
        if path.startswith("/v2"):
            next(t for t in told["outputs"] if t["name"] == "score")["data"][2] += 3e-5
        return told

    with serving(crooked(ranking_only.transformer_http, change)) as url:
        wrong = failures(check(replace(ranking_only, transformer_http=url), QUESTION, AT_ONCE))
    assert set(wrong) == {"scores"}
    assert "item '13': V1 REST and V2 REST differ by" in wrong["scores"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors["score"].__setitem__(0, 1.5), "probabilities between 0 and 1"),
        (lambda tensors: tensors["score"].__setitem__(0, "NaN"), "probabilities between 0 and 1"),
        (lambda tensors: tensors["score"].pop(), "expected 4 probabilities"),
        (lambda tensors: tensors["order"].reverse(), "expected the best first"),
        (lambda tensors: tensors["order"].__setitem__(0, tensors["order"][1]), "each candidate once"),
    ],
)
def test_scores_that_are_none_and_orders_that_are_wrong(
    ranking_only: Targets, serving: Any, change: Callable[[dict[str, list[Any]]], Any], said: str
) -> None:
    def in_v2(path: str, told: Any) -> Any:
        if path.startswith("/v2"):
            change({tensor["name"]: tensor["data"] for tensor in told["outputs"]})
        return told

    with serving(crooked(ranking_only.transformer_http, in_v2)) as url:
        wrong = failures(check(replace(ranking_only, transformer_http=url), QUESTION, AT_ONCE))
    assert said in wrong["scores"]


def test_an_answer_of_something_else_is_no_ranking(ranking_only: Targets, serving: Any) -> None:
    async def hello(_: Request) -> Response:
        return JSONResponse({"hello": "world"})

    async def page(_: Request) -> Response:
        return Response("<html>welcome</html>")

    routes = [
        Route("/v1/{path:path}", hello, methods=["POST"]),
        Route("/v2/{path:path}", page, methods=["POST"]),
    ]
    with serving(Starlette(routes=routes)) as url:
        wrong = failures(check(Targets(url), QUESTION, AT_ONCE))
    assert "the answer is no ranking" in wrong["V1 REST"]
    assert "no JSON but b'<html>" in wrong["V2 REST"] or "no JSON but '<html>" in wrong["V2 REST"]


def test_another_contract_in_triton_is_named_by_both_digests(
    ranking_only: Targets, ids_only: Any, contract: Any, serving: Any
) -> None:
    async def config(_: Request) -> Response:
        return JSONResponse({"parameters": {"contract_digest": {"string_value": "sha256:other"}}})

    with serving(Starlette(routes=[Route("/v2/models/ranker/config", config)])) as url:
        wrong = failures(check(replace(ranking_only, ranker_http=url), QUESTION, AT_ONCE))
    assert set(wrong) == {"contract"}
    assert "sha256:other (Triton)" in wrong["contract"]
    assert f"{contract.digest} (V1 REST, V2 REST, V2 gRPC, bundle)" in wrong["contract"]
    wrong = failures(check(replace(ranking_only, bundle=ids_only.path), QUESTION, AT_ONCE))
    assert f"{contract.without_caption().digest} (bundle)" in wrong["contract"]


def test_a_foreign_model_and_a_damaged_bundle(ranking_only: Targets, serving: Any, tmp_path: Path) -> None:
    async def config(_: Request) -> Response:
        return JSONResponse({"parameters": {}})

    with serving(Starlette(routes=[Route("/v2/models/ranker/config", config)])) as url:
        wrong = failures(check(replace(ranking_only, ranker_http=url), QUESTION, AT_ONCE))
    assert "no parameter contract_digest" in wrong["contract"]
    wrong = failures(check(replace(ranking_only, bundle=tmp_path), QUESTION, AT_ONCE))
    assert "manifest.json" in wrong["contract"]


def test_missing_captions_and_users_are_named(ranking_only: Targets) -> None:
    wrong = failures(check(ranking_only, replace(QUESTION, items=("1", "7", "14")), AT_ONCE))
    assert wrong["known"].startswith("captions: nothing for 7, 14 (V1 REST)")
    wrong = failures(check(ranking_only, replace(QUESTION, user_id="stranger"), AT_ONCE))
    assert "user 'stranger' is not in the item store" in wrong["known"]


def test_captions_that_arrive_in_time_are_waited_for(
    stack: Any, triton: Any, with_captions: Any, rows: list[Any], tmp_path: Path
) -> None:
    store = stack.fill(tmp_path / "store", [replace(row, caption=None) for row in rows[:20]])
    with stack.running_transformer(tmp_path, with_captions.bundle.path, store, triton.grpc) as running:
        looks: list[float] = []

        def bootstrap(seconds: float) -> None:
            looks.append(seconds)
            with LmdbStore.open(store) as opened:
                opened.put_many(rows[:20])

        report = check(Targets(running.url), Question("ranker", "196", ("1", "2")), Patience(60, 0.01, sleep=bootstrap))
    assert report.good, report.findings
    assert looks


def test_a_degraded_ranking_is_a_failure(ranking_only: Targets, serving: Any) -> None:
    def change(path: str, told: Any) -> Any:
        if path.startswith("/v1"):
            told["predictions"][0]["degraded"] = ["item_store_unavailable"]
        return told

    with serving(crooked(ranking_only.transformer_http, change)) as url:
        wrong = failures(check(replace(ranking_only, transformer_http=url), QUESTION, AT_ONCE))
    assert wrong == {"known": "V1 REST: degraded: item_store_unavailable; see the transformer's log"}


@dataclass(frozen=True)
class Look:
    findings: Sequence[Finding]


def test_patience_ends_in_time_and_pauses_between_looks() -> None:
    now, pauses = [100.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    told: list[Sequence[str]] = []
    patience = Patience(5, pause=2, clock=lambda: now[0], sleep=sleep, waiting=told.append)
    last = patience.look(lambda: Look([Finding("x", "failed", f"at {now[0]:g}")]))
    assert last.findings[0].found == "at 104"
    assert pauses == [2, 2]
    assert told == [["x"], ["x"]]


def test_the_command_loads_nothing_that_the_transformer_image_lacks() -> None:
    program = "import sys, serving.cli.main, serving.check.run, tritonclient.grpc; print(*sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert {"serving", "tritonclient"} <= loaded
    assert not loaded & {"PIL", "kserve", "kubernetes", "onnxruntime", "pandas", "pyarrow", "ray", "sklearn", "torch"}


def sightline(targets: Targets, *more: str, first: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    words = [
        *first,
        "check",
        *("--transformer-http", targets.transformer_http, "--transformer-grpc", str(targets.transformer_grpc)),
        *("--captioner", str(targets.captioner), "--picture", str(targets.picture)),
        *("--ranker-http", str(targets.ranker_http), "--bundle", str(targets.bundle)),
        *("--model", "ranker", "--user", "196", "--items", "1,2,13,599"),
        *more,
    ]
    return run_sightline(words)


def run_sightline(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
