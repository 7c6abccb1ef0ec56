"""`sightline job` against an API server: what it sends, what it shows, what it says when it cannot."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from serving.cli.main import app
from serving.cluster import logs as job_logs
from serving.cluster.connection import connect
from serving.cluster.errors import ClusterError
from serving.cluster.jobs import submit
from serving.cluster.logs import Line, Piece, lines, logs
from serving.cluster.manifest import KINDS, Changes, changed, find, options_of, read
from serving.cluster.status import MEANINGS, status

LABELS = {"app.kubernetes.io/name": "sightline", "app.kubernetes.io/component": "train"}
MESSAGE = {
    "job": "train",
    "outcome": "done",
    "message": "both bundles are published",
    "bundles": {"ranker": "s3://shop/models/ranker/7"},
    "contract_digest": "sha256:abc",
    "metrics": {"auc": 0.7213},
    "lift": {"delta": 0.0042, "low": 0.0007, "high": 0.006, "verdict": "higher with captions"},
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["job", *arguments])


def refused(*arguments: str) -> str:
    """What a command says that is refused."""
    result = run(*arguments)
    assert isinstance(result.exception, ClusterError), result.output
    return str(result.exception)


def job(name: str = "train-1", conditions: list[Any] | None = None, **spec: Any) -> dict[str, Any]:
    counts = {"active": 0 if conditions else 1, "failed": 1, "succeeded": 1 if conditions else 0}
    return {
        "metadata": {"name": name, "labels": dict(LABELS)},
        "spec": {"completions": 1, "suspend": False, "template": {"spec": {"containers": [{"name": "train"}]}}, **spec},
        "status": {**counts, "conditions": conditions or []},
    }


def ended(code: int, message: str, reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    container = {"name": "train", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}


NO_GPU = {"reason": "Unschedulable", "message": "0/3 nodes: 3 Insufficient nvidia.com/gpu"}
UNSCHEDULABLE = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", **NO_GPU}]}
WAITING = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
CONTAINER = {"name": "train", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
NO_IMAGE = {"phase": "Pending", "containerStatuses": [{**CONTAINER, "state": WAITING}]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_submitted_as_it_is_with_a_claim_that_stays(api: Any, kind: str) -> None:
    result = run("submit", kind)
    assert result.exit_code == 0, result.output
    claim, (resource, namespace, name) = api.objects
    assert claim == ("persistentvolumeclaims", "shop", "sightline-jobs")
    assert (resource, namespace) == ("jobs", "shop")
    assert name.startswith(f"sightline-{kind}-")
    assert f"sightline job logs --follow --namespace shop {name}" in result.output.replace("\n", " ")
    assert "WARNING" not in result.output
    made, given = yaml.safe_load_all(find(kind).read_text())
    assert api.objects[claim]["spec"] == made["spec"]
    assert api.objects[resource, namespace, name]["spec"] == given["spec"]
    assert "PersistentVolumeClaim sightline-jobs was there already" in run("submit", kind).output


def test_what_the_command_line_says_is_changed_and_nothing_else(api: Any) -> None:
    result = run(
        "submit", "backfill", "--set", "data=s3://shop/tables", "--set", "shards=8", "--set", "again", "--image",
        "registry.example/trainer:2", "--queue", "night", "--name", "tonight", "--namespace", "lab",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    made = api.objects["jobs", "lab", "tonight"]
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example/trainer:2"
    assert "--data=s3://shop/tables" in container["args"]
    assert "--shards=8" in container["args"]
    assert container["args"][-1] == "--again"
    assert sum(each.startswith("--data") for each in container["args"]) == 1
    assert made["spec"]["completions"] == 8
    assert made["spec"]["parallelism"] == 2
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    assert made["spec"]["suspend"] is True
    _, original = yaml.safe_load_all(find("backfill").read_text())
    assert made["spec"]["podFailurePolicy"] == original["spec"]["podFailurePolicy"]


def test_an_option_and_its_value_apart_are_replaced_together() -> None:
    objects = [
        {
            "kind": "Job",
            "metadata": {},
            "spec": {"template": {"spec": {"containers": [{"args": ["--recipe", "a", "x"]}]}}},
        }
    ]
    (made,) = changed(objects, Changes(options_of(["recipe=b"])))
    assert made["spec"]["template"]["spec"]["containers"][0]["args"] == ["--recipe=b", "x"]
    assert objects[0]["spec"]["template"]["spec"]["containers"][0]["args"] == ["--recipe", "a", "x"]  # type: ignore[index]


def test_what_comes_with_a_job_is_created_first_and_left_alone_if_it_is_there(api: Any, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    recipe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "recipe"}, "data": {"a": "b"}}
    file.write_text(yaml.safe_dump_all([{"apiVersion": "batch/v1", "kind": "Job", **job("a")}, recipe]))
    assert run("submit", str(file)).exit_code == 0
    assert [path.split("/")[-1] for method, path in api.requests if method == "POST"] == ["configmaps", "jobs"]
    second = run("submit", str(file), "--name", "b")
    assert "ConfigMap recipe was there already" in second.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: Job\nmetadata: {}\n---\nkind: Job\nmetadata: {}", "holds 2 Jobs, expected one"),
        ("kind: ConfigMap\nmetadata: {}", "holds 0 Jobs"),
        ("kind: Job\nmetadata: {}\nspec: {template: {spec: {}}}", "has no container"),
        ("a: [", "cannot be read as YAML"),
        ("just text", "expected Kubernetes objects"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ClusterError, match=says):
        read(tmp_path / "job.yaml")


def test_wrong_names_options_and_kinds_are_refused(api: Any) -> None:
    assert "give a manifest's path, or one of train, lift, publish, backfill" in refused("submit", "trian")
    assert "expected option=value" in refused("submit", "train", "--set", "--recipe=x")
    assert "expected a number from 1" in refused("submit", "backfill", "--set", "shards=none")
    secret = {"kind": "Secret", "metadata": {"name": "s"}}
    with pytest.raises(ClusterError, match="the manifest holds Secret; expected a Job and ConfigMap"):
        submit(connect(), [secret, {"kind": "Job", **job()}])
    assert api.objects == {}


@pytest.mark.parametrize("kind", ["train", "backfill"])
def test_without_a_default_storageclass_the_job_runs_without_a_claim_and_that_is_said_aloud(
    api: Any, kind: str
) -> None:
    api.default_class = False
    result = run("submit", kind)
    said = result.output.replace("\n", " ")
    assert "WARNING: this cluster has no default StorageClass: claim sightline-jobs is not made" in said
    if kind == "train":
        assert "WARNING: --work /volume/work/$(JOB_NAME) lies in an emptyDir: the checkpoints go with the pod" in said
        assert "WARNING: --out-store /volume/models lies in an emptyDir: the published bundles go with the pod" in said
    else:
        assert "WARNING: --out /volume/captions lies in an emptyDir" in said
    (made,) = [each for (resource, *_), each in api.objects.items() if resource == "jobs"]
    volumes = {each["name"]: each for each in made["spec"]["template"]["spec"]["volumes"]}
    assert volumes["volume"] == {"name": "volume", "emptyDir": {}}
    assert not [key for key in api.objects if key[0] == "persistentvolumeclaims"]


def test_a_claim_that_is_there_is_used_whatever_classes_there_are(api: Any) -> None:
    api.default_class = False
    api.add("persistentvolumeclaims", {"metadata": {"name": "sightline-jobs"}, "spec": {}})
    result = run("submit", "train")
    assert "WARNING" not in result.output
    assert "PersistentVolumeClaim sightline-jobs was there already" in result.output


def test_who_may_not_ask_for_storageclasses_gets_the_claim(api: Any) -> None:
    api.default_class = False
    api.forbidden = {("GET", "storageclasses")}
    assert "WARNING" not in run("submit", "train").output
    assert ("persistentvolumeclaims", "shop", "sightline-jobs") in api.objects


def test_a_manifest_that_keeps_its_work_in_the_pod_is_submitted_with_a_warning(api: Any, tmp_path: Path) -> None:
    mounts = [{"name": "work", "mountPath": "/work"}, {"name": "models", "mountPath": "/work/models"}]
    container = {"name": "train", "args": ["--work", "/work", "--out=/out", "--out-store=/work/models"]}
    volumes = [{"name": "work", "emptyDir": {}}, {"name": "models", "persistentVolumeClaim": {"claimName": "mine"}}]
    spec = {"containers": [{**container, "volumeMounts": mounts}], "volumes": volumes}
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "batch/v1", "kind": "Job", **job("a", template={"spec": spec})}))
    said = run("submit", str(file)).output.replace("\n", " ")
    assert said.count("WARNING") == 2
    assert "WARNING: --work /work lies in an emptyDir: the checkpoints go with the pod" in said
    assert "WARNING: --out /out lies in the container itself: the results go with the pod" in said


def test_a_shell_script_is_not_changed_by_set() -> None:
    container = {"command": ["sh", "-c"], "args": ["train --recipe=a"]}
    objects = [{"kind": "Job", "metadata": {}, "spec": {"template": {"spec": {"containers": [container]}}}}]
    with pytest.raises(ClusterError, match="shell script"):
        changed(objects, Changes({"recipe": "b"}))


def test_status_shows_phase_attempts_exit_codes_and_the_last_words(api: Any) -> None:
    api.add("jobs", job(conditions=[{"type": "Complete", "status": "True"}]))
    api.pod("train-1", ended(75, json.dumps({"job": "train", "outcome": "interrupted", "message": "stopped"})))
    api.pod("train-1", ended(0, json.dumps(MESSAGE), "Completed"))
    result = run("status", "train-1")
    assert result.exit_code == 0, result.output
    for shown in (
        "train train-1 in shop: done; 1 of 1 done, 1 failed attempts",
        "interrupted, its state is saved",
        "ranker: s3://shop/models/ranker/7",
        "sha256:abc",
        "auc: 0.7213",
        "verdict: higher with captions",
    ):
        assert shown in result.output
    assert "stopped" not in result.output, "the newest attempt speaks"


def test_status_as_json_has_it_all(api: Any) -> None:
    api.add("jobs", job(conditions=[{"type": "Complete", "status": "True"}]))
    api.pod("train-1", ended(0, json.dumps(MESSAGE), "Completed"))
    result = CliRunner().invoke(app, ["--json", "job", "status", "train-1"])
    document = json.loads(result.output)
    assert document["phase"] == "done"
    (attempt,) = document["attempts"]
    assert (attempt["exit_code"], attempt["message"]) == (0, MESSAGE)


def test_status_of_an_indexed_job_has_the_words_of_every_shard(api: Any) -> None:
    failed = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 1 of index 1"}
    api.add("jobs", job(conditions=[failed], completions=2))
    api.pod("train-1", ended(0, '{"items": 20}', "Completed"), index=0)
    api.pod("train-1", ended(1, "killed before it could say anything"), index=1)
    result = run("status", "train-1")
    assert "failed (PodFailurePolicy: exit code 1 of index 1)" in result.output
    assert "Last words of shard 0" in result.output
    assert "killed before it could say anything" in result.output


@pytest.mark.parametrize(
    ("pod", "phase", "why"),
    [
        (UNSCHEDULABLE, "waiting", "Unschedulable: 0/3 nodes: 3 Insufficient nvidia.com/gpu"),
        (NO_IMAGE, "waiting", "ImagePullBackOff: no such image"),
        ({"phase": "Running"}, "running", None),
    ],
)
def test_a_job_that_has_not_ended_says_what_it_waits_for(api: Any, pod: Any, phase: str, why: str | None) -> None:
    api.add("jobs", job())
    api.pod("train-1", pod)
    found = status(connect(), "train-1", "shop")
    assert (found.phase, found.why) == (phase, why)


def test_a_suspended_job_is_neither_running_nor_waiting(api: Any) -> None:
    api.add("jobs", job(suspend=True))
    assert status(connect(), "train-1", "shop").phase == "suspended"


def test_jobs_are_listed_newest_first_ours_alone_unless_asked(api: Any) -> None:
    api.add("jobs", job("old"))
    api.add("jobs", job("new", suspend=True))
    api.add("jobs", job("elsewhere"), namespace="lab")
    other = job("not-ours")
    other["metadata"]["labels"] = {}
    api.add("jobs", other)

    def names(*arguments: str) -> list[str]:
        answer = CliRunner().invoke(app, ["--json", "job", "list", *arguments])
        return [each["name"] for each in json.loads(answer.output)]

    assert names() == ["new", "old"]
    assert names("--all") == ["not-ours", "new", "old"]
    assert names("--all-namespaces") == ["elsewhere", "new", "old"]
    assert names("--context", "there") == ["elsewhere"]
    assert "suspended" in run("list").output


def test_the_newest_pods_log_is_printed(api: Any) -> None:
    api.add("jobs", job())
    first, second = (api.pod("train-1", {"phase": "Failed"}, index=index) for index in (0, 1))
    api.logs = {first: [b"first\n"], second: [b"sec", b"ond\n"]}
    assert run("logs", "train-1").output == "second\n"
    assert run("logs", "train-1", "--index", "0", "--tail", "10").output == "first\n"
    assert any("/log?" in path and "tailLines=10" in path for _, path in api.requests)
    assert "has no pod with index 7" in refused("logs", "train-1", "--index", "7")


def test_with_json_every_line_of_the_log_is_an_object(api: Any) -> None:
    api.add("jobs", job())
    pod = api.pod("train-1", {"phase": "Running"})
    api.logs = {pod: [b'one "quoted"\n\ntw', b'o\n{"a": 1}\r\nbroken \xff', b" end"]}
    answer = CliRunner().invoke(app, ["--json", "job", "logs", "train-1"])
    assert answer.exit_code == 0, answer.output
    told = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [each["line"] for each in told] == ['one "quoted"', "", "two", '{"a": 1}\r', "broken \ufffd end"]
    assert {each["pod"] for each in told} == {pod}


def test_a_line_is_told_when_it_ends_and_pods_are_not_mixed() -> None:
    pieces = iter([Piece("a", b"one\ntw"), Piece("a", b"o"), Piece("b", b"three\n")])
    told = lines(pieces)
    assert next(told) == Line("a", "one")
    assert list(told) == [Line("a", "two"), Line("b", "three")]


def test_following_waits_for_a_pod_and_goes_on_with_the_one_after_it(api: Any) -> None:
    api.add("jobs", job())
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            api.logs[api.pod("train-1", {"phase": "Running"})] = [b"one\n"]

    def on_log(pod: str) -> None:
        if len(api.logs) == 1:
            api.logs[api.pod("train-1", {"phase": "Running"})] = [b"two\n"]
        else:
            api.objects["jobs", "shop", "train-1"]["status"]["conditions"] = [{"type": "Complete", "status": "True"}]

    api.on_log = on_log
    told = list(logs(connect(), "train-1", "shop", follow=True, sleep=sleep))
    assert b"".join(piece.text for piece in told) == b"one\ntwo\n"
    assert [piece.pod for piece in told] == list(api.logs)


def test_following_a_job_that_never_starts_ends(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add("jobs", job())
    api.pod("train-1", {"phase": "Pending"})
    monkeypatch.setattr(job_logs, "POLL_SECONDS", 100.0)
    with pytest.raises(ClusterError, match="has started no pod for too long"):
        list(logs(connect(), "train-1", "shop", follow=True, sleep=lambda _: None))


def test_cancelling_suspends_and_says_how_to_go_on(api: Any) -> None:
    api.add("jobs", job())
    result = run("cancel", "train-1")
    assert api.objects["jobs", "shop", "train-1"]["spec"]["suspend"] is True
    assert "is suspended" in result.output
    assert "kubectl --namespace shop patch job train-1" in result.output.replace("\n", " ")
    assert "is suspended already" in run("cancel", "train-1").output


def test_cancelling_with_delete_takes_the_pods_too(api: Any) -> None:
    api.add("jobs", job())
    assert "is deleted" in run("cancel", "train-1", "--delete").output
    assert api.objects == {}
    ((_, path),) = [each for each in api.requests if each[0] == "DELETE"]
    assert "propagationPolicy=Background" in path


def test_what_cannot_be_cancelled_says_why(api: Any) -> None:
    api.add("jobs", job("done", conditions=[{"type": "Complete", "status": "True"}]))
    assert "has ended (Complete); there is nothing to stop" in refused("cancel", "done")
    queued = job("queued")
    queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "night"
    api.add("jobs", queued)
    assert "Kueue's queue night, which would start it again" in refused("cancel", "queued")
    assert not api.objects["jobs", "shop", "queued"]["spec"]["suspend"]


def test_a_job_that_is_not_there_is_not_found(api: Any) -> None:
    for command in ("status", "logs", "cancel"):
        said = refused(command, "nowhere")
        assert 'jobs "nowhere" not found (HTTP 404)' in said
        assert "sightline job list" in said


def test_what_is_forbidden_names_verb_and_resource(api: Any) -> None:
    api.forbidden = {("POST", "jobs")}
    said = refused("submit", "train")
    assert "cannot create Job sightline-train-… in shop" in said
    assert 'User "jane" cannot post resource "jobs" (HTTP 403); ask whoever runs the cluster' in said


def test_a_name_that_is_taken_is_a_conflict(api: Any) -> None:
    assert run("submit", "train", "--name", "mine").exit_code == 0
    assert "Job 'mine' exists already: give another name" in refused("submit", "train", "--name", "mine")


def test_no_kubeconfig_an_unknown_context_and_a_dead_server_are_told(
    api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ClusterError, match=r"no way into a cluster: .*; set KUBECONFIG"):
        connect("nowhere")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match=r"no way into a cluster: .*; set KUBECONFIG"):
        connect()


def test_a_server_that_does_not_answer_is_told(api: Any, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(file.read_text().replace(api.url, "http://127.0.0.1:9"))
    assert "the API server http://127.0.0.1:9 does not answer" in refused("list")


def test_exit_codes_have_the_meaning_that_our_jobs_give_them() -> None:
    from models import termination

    named = {termination.EXIT_DONE, termination.EXIT_FAILED, termination.EXIT_USAGE}
    named |= {termination.EXIT_AWAY, termination.EXIT_INTERRUPTED}
    assert named == set(MEANINGS) - {137, 143}
