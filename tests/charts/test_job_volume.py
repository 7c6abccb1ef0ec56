"""What the Jobs of the chart write outlives their pods unless the values say otherwise, and then that is said."""

import pytest

from charts.tooling.pods import pods_of
from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART

TRAIN = "jobs.train.enabled=true"
S3 = "jobs.store.uri=s3://models"
CAPTIONS = "jobs.captions=s3://captions"


def claims(objects: list[Object]) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == "PersistentVolumeClaim"}


def places(objects: list[Object]) -> dict[str, tuple[str, str]]:
    """By Job: the claim that its pod mounts at /volume, and where it works."""
    found = {}
    for pod in (each for each in pods_of(objects) if not each.long and "work" in each.volumes):
        claim = pod.volumes.get("volume", {}).get("persistentVolumeClaim", {}).get("claimName", "")
        work = [arg.removeprefix("--work=") for arg in pod.containers[0]["args"] if arg.startswith("--work=")]
        found[pod.component] = (claim, "".join(work))
    return found


STAYS, GOES = "/volume/work/$(JOB_NAME)", "/work"


@pytest.mark.parametrize(
    ("settings", "claim", "expected"),
    [
        ((), "", {}),
        ((TRAIN,), "sightline-jobs", {"train": ("sightline-jobs", STAYS)}),
        ((TRAIN, S3), "sightline-jobs", {"train": ("sightline-jobs", STAYS)}),
        (("jobs.lift.enabled=true",), "sightline-jobs", {"lift": ("sightline-jobs", STAYS)}),
        (("jobs.publish.enabled=true",), "sightline-jobs", {"publish": ("sightline-jobs", "")}),
        (("jobs.publish.enabled=true", S3), "", {"publish": ("", "")}),
        (("jobs.backfill.enabled=true", CAPTIONS), "", {"backfill": ("", "")}),
        (
            ("jobs.backfill.enabled=true", "jobs.captions=/volume/captions"),
            "sightline-jobs",
            {"backfill": ("sightline-jobs", "")},
        ),
        # One Job's claim is not forced upon another one, whose pods may be on other nodes.
        (
            (TRAIN, S3, "jobs.backfill.enabled=true", CAPTIONS),
            "sightline-jobs",
            {"train": ("sightline-jobs", STAYS), "backfill": ("", "")},
        ),
        # Two pods on two nodes cannot share a ReadWriteOnce claim: they would wait for each other for ever.
        ((TRAIN, S3, "jobs.train.processes=2"), "", {"train": ("", GOES)}),
        (
            (TRAIN, S3, "jobs.train.processes=2", "jobs.volume.accessMode=ReadWriteMany"),
            "sightline-jobs",
            {"train": ("sightline-jobs", STAYS)},
        ),
        # What values said before keeps its meaning.
        ((TRAIN, S3, "jobs.volume.create=false"), "", {"train": ("", GOES)}),
        ((TRAIN, "jobs.volume.existingClaim=mine"), "", {"train": ("mine", STAYS)}),
        ((TRAIN, "jobs.volume.existingClaim=mine", "jobs.work.onVolume=false"), "", {"train": ("mine", GOES)}),
        (
            (TRAIN, "jobs.volume.create=true", "jobs.work.onVolume=true"),
            "sightline-jobs",
            {"train": ("sightline-jobs", STAYS)},
        ),
        (("jobs.volume.create=true",), "sightline-jobs", {}),
    ],
)
def test_a_job_that_would_lose_its_work_has_a_claim(
    settings: tuple[str, ...], claim: str, expected: dict[str, tuple[str, str]]
) -> None:
    objects = parse(render((), ("bootstrap.enabled=false", *settings)))
    assert list(claims(objects)) == ([claim] if claim else [])
    assert places(objects) == expected


def test_the_claim_outlives_the_release_and_says_nothing_that_an_upgrade_could_change() -> None:
    first, second = (claims(parse(render((), settings)))["sightline-jobs"] for settings in ((TRAIN,), (TRAIN, S3)))
    assert first == second
    assert first["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert first["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}}


@pytest.mark.parametrize("kind", ["train", "lift", "publish", "backfill"])
def test_a_manifest_made_alone_brings_the_claim_that_all_share(kind: str) -> None:
    claim, job = (
        {**each, "metadata": {"name": kind, **each["metadata"]}}
        for each in parse((CHART.parents[1] / "manifests" / "jobs" / f"{kind}.yaml").read_text())
    )
    assert (claim["kind"], claim["metadata"]["name"]) == ("PersistentVolumeClaim", "sightline-jobs")
    (pod,) = pods_of([job])
    assert pod.volumes["volume"] == {"name": "volume", "persistentVolumeClaim": {"claimName": "sightline-jobs"}}
    written = [arg for arg in pod.containers[0]["args"] if arg.startswith(("--work=", "--out=", "--out-store="))]
    assert written
    assert all("=/volume/" in arg for arg in written)
    assert not claims(parse((CHART.parents[1] / "manifests" / "kind" / "bootstrap.yaml").read_text()))
