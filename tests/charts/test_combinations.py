"""Values that the schema admits one by one, and that cannot work together: helm refuses them, and says what to do."""

import re
from functools import cache

import pytest

from charts.tooling.render import RenderError, render
from charts.tooling.values import CHART

KSERVE = "ranker.mode=inferenceservice"
KSERVE_STORAGE = f"{KSERVE},ranker.inferenceService.storage=kserve"
COLLOCATED = f"{KSERVE},ranker.inferenceService.transformer=collocated"
RAY = "captioner.mode=rayservice"
RAY_UPGRADE = f"{RAY},captioner.rayService.upgrade.strategy=NewClusterWithIncrementalUpgrade"
STORE = "model.source=store,model.uri=s3://bucket/models/ranker/7"
GPU = r"resources.limits.nvidia\.com/gpu=1"
KEDA = "autoscaling.enabled=true,transformer.autoscaling.by=keda"
EXPERIMENTS = "experiments.enabled=true"
TLS = "tls.enabled=true,tls.issuer.name=ca"
EXTERNAL_ITEMS = "items.redis.bundled.enabled=false,items.redis.external.url"

# What is set: the paths that the message must name, each at the start of a line.
REFUSED: dict[str, set[str]] = {
    f"fullnameOverride={'a' * 37}": {"fullnameOverride"},
    "fullnameOverride=2-sightline": {"fullnameOverride"},
    "global.imageRegistri=registry.example.com": {"global.imageRegistri"},
    "images.captioner.tag=latest": {"images.captioner.tag"},
    "images.ranker.tag=1.0,images.ranker.tagSuffix=-cuda": {"images.ranker.tagSuffix"},
    "images.triton.tag=": {"images.triton.tag"},
    "model.uri=s3://bucket/ranker/7,model.credentialsSecret=store": {"model.uri", "model.credentialsSecret"},
    "model.source=store": {"model.uri"},
    f"{STORE},model.trust.required=true": {"model.trust.required"},
    f"{STORE},model.trust.publicKeys={{mine}}": {"model.trust.publicKeys"},
    "model.trust.requireDigest=true": {"model.trust.requireDigest"},
    f"{KSERVE_STORAGE},{STORE}@sha256:{'a' * 64},model.trust.requireDigest=true": {"model.trust.requireDigest"},
    f"{STORE}@sha256:1": {"model.uri"},
    f"{STORE},model.trust.requireDigest=true": {"model.uri"},
    "model.source=store,model.uri=oci://registry.example.com/ranker:7": {"model.uri"},
    "model.source=store,model.uri=pvc://claim": {"model.uri"},
    "model.source=store,model.uri=bucket/ranker/7": {"model.uri"},
    "captioner.mode=external": {"captioner.externalUrl"},
    "captioner.externalUrl=http://captioner:8000": {"captioner.externalUrl"},
    "captioner.settings.model_gpus=1": {"captioner.settings.model_gpus"},
    f"captioner.{GPU}": {"captioner.settings.model_gpus"},
    "captioner.deployment.autoscaling.enabled=true,captioner.deployment.autoscaling.minReplicas=9": {
        "captioner.deployment.autoscaling"
    },
    f"{RAY},captioner.settings.model_gpus=1": {"captioner.settings.model_gpus"},
    f"{RAY},captioner.rayService.gpuWorkers.maxReplicas=1": {"captioner.settings.model_gpus"},
    f"{RAY},captioner.rayService.cpuWorkers.minReplicas=3": {"captioner.rayService.cpuWorkers"},
    f"{RAY},captioner.rayService.cpuWorkers.resources.limits.cpu=null": {
        "captioner.rayService.cpuWorkers.resources.limits.cpu"
    },
    f"{RAY},captioner.rayService.cpuWorkers.minReplicas=0,captioner.rayService.cpuWorkers.maxReplicas=0": {
        "captioner.rayService.cpuWorkers.maxReplicas"
    },
    f"{RAY},captioner.rayService.cpuWorkers.minReplicas=0,captioner.rayService.autoscaling.enabled=false": {
        "captioner.rayService.cpuWorkers.minReplicas"
    },
    f"{RAY},captioner.rayService.head.{GPU}": {"captioner.rayService.head.resources"},
    f"{RAY},captioner.rayService.faultTolerance.enabled=true": {"captioner.rayService.faultTolerance.redisAddress"},
    f"{RAY},captioner.rayService.faultTolerance.redisAddress=redis:6379": {
        "captioner.rayService.faultTolerance.redisAddress"
    },
    f"{RAY},captioner.rayService.upgrade.gatewayClassName=istio": {"captioner.rayService.upgrade.gatewayClassName"},
    f"{RAY_UPGRADE},captioner.rayService.autoscaling.enabled=false,captioner.rayService.upgrade.maxSurgePercent=5": {
        "captioner.rayService.autoscaling.enabled",
        "captioner.rayService.upgrade.gatewayClassName",
        "captioner.rayService.upgrade.stepSizePercent",
    },
    f"{RAY},captioner.maxUnavailable=50%": {"captioner.maxUnavailable"},
    "ranker.mode=external": {"ranker.externalHost"},
    "ranker.externalHost=triton:8001": {"ranker.externalHost"},
    f"ranker.{GPU}": {"ranker.resources"},
    "ranker.autoscaling.enabled=true,ranker.resources.requests.cpu=null": {"ranker.resources.requests.cpu"},
    f"transformer.{KEDA}": {"transformer.autoscaling.by", "transformer.autoscaling"},
    "ranker.autoscaling.query=sum(up)": {"ranker.autoscaling"},
    f"{KSERVE},ranker.autoscaling.enabled=true,ranker.autoscaling.targetCPU=150": {"ranker.autoscaling.targetCPU"},
    f"{KSERVE},ranker.inferenceService.runtime=python,ranker.{GPU}": {"ranker.resources"},
    rf"{KSERVE},ranker.inferenceService.annotations.serving\.kserve\.io/deploymentMode=Knative": {
        "ranker.inferenceService.annotations"
    },
    f"{KSERVE},transformer.service.type=LoadBalancer": {"transformer.service"},
    f"{KSERVE},transformer.resources.limits.cpu=null": {"transformer.resources.limits.cpu"},
    f"{KSERVE},ranker.resources.limits.cpu=null": {"ranker.resources.limits.cpu"},
    f"{COLLOCATED},transformer.replicas=2,transformer.pod.priorityClassName=high": {
        "transformer.replicas and transformer.autoscaling",
        "transformer.pod.priorityClassName",
    },
    f"{KSERVE},ranker.inferenceService.storageUri=s3://bucket/repository": {"ranker.inferenceService.storageUri"},
    f"{KSERVE_STORAGE},{STORE},ranker.inferenceService.runtime=python": {"ranker.inferenceService.storage"},
    KSERVE_STORAGE: {"ranker.inferenceService.storage"},
    f"{KSERVE_STORAGE},{STORE},ranker.inferenceService.storageUri=bucket/repository": {
        "ranker.inferenceService.storageUri"
    },
    f"{KSERVE_STORAGE},{STORE},model.name=films,ranker.{GPU}": {"model.name", "ranker.inferenceService.storage"},
    "items.redis.external.url=redis://redis:6379/0": {"items.redis"},
    "items.redis.external.caSecret=ca": {"items.redis.external.caSecret"},
    "items.redis.bundled.maxMemory=lots": {"items.redis.bundled.maxMemory"},
    "items.redis.bundled.enabled=false": {"items.redis"},
    f"{EXTERNAL_ITEMS}=redis://user:secret@redis:6379/0": {"items.redis.external.url"},
    f"{EXTERNAL_ITEMS}=redis://redis:6379/0,items.redis.external.caSecret=ca,items.redis.external.usernameKey=user": {
        "items.redis.external.caSecret",
        "items.redis.external.usernameKey",
    },
    "items.redis.bundled.readerKey=password": {"items.redis.bundled"},
    f"{EXPERIMENTS},experiments.exposures.url=redis://sightline-items:6379/0?stream=a*": {"experiments.exposures.url"},
    "ranker.inferenceService.predictorName=captions": {"ranker.inferenceService.predictorName"},
    f"{KSERVE},ranker.inferenceService.predictorName=captions": {"ranker.inferenceService.predictorName"},
    f"{EXPERIMENTS},ranker.mode=external,ranker.externalHost=triton:8001": {"experiments.enabled"},
    f"{EXPERIMENTS},{COLLOCATED}": {"ranker.inferenceService.transformer", "ranker.inferenceService.storage"},
    f"{EXPERIMENTS},experiments.collector.enabled=false": {"experiments.exposures.url"},
    f"{EXPERIMENTS},experiments.collector.token.existingSecret=one": {"experiments.collector.token.existingSecret"},
    f"{EXPERIMENTS},experiments.exposures.url=http://me:secret@events/v1/exposures": {"experiments.exposures.url"},
    f"{EXPERIMENTS},experiments.exposures.url=redis://valkey:6379/0": {"experiments.exposures.url"},
    f"{EXPERIMENTS},experiments.exposures.url=file:///exposures": {"experiments.exposures.url"},
    f"{EXPERIMENTS},experiments.controller.serviceAccount.create=false": {"experiments.controller.serviceAccount"},
    f"{EXPERIMENTS},experiments.assignments.via=redis,{EXTERNAL_ITEMS}=rediss://valkey:6379/0,"
    "items.redis.external.caSecret=ca": {"experiments.assignments.via"},
    "jobs.recipe.inline=steps,jobs.recipe.name=movielens": {"jobs.recipe"},
    "jobs.lift.enabled=true,jobs.lift.gpus=1,images.trainer.tagSuffix=-cuda": {"jobs.lift.gpus"},
    "jobs.train.enabled=true,jobs.train.processes=2": {"jobs.train.enabled"},
    "jobs.train.enabled=true,jobs.train.gpus=1,jobs.train.schedule=daily,jobs.volume.create=false": {
        "jobs.train.enabled",
        "jobs.train.gpus",
        "jobs.train.schedule",
    },
    "jobs.train.gpus=2,jobs.train.resources.limits.nvidia\\.com/mig-1g\\.5gb=1": {"jobs.train.gpus"},
    f"{KSERVE},ranker.replicas=null,transformer.replicas=null": {"ranker.replicas", "transformer.replicas"},
    "enabled=false": {"enabled"},
    "jobs.lift.enabled=true,jobs.captions=none": {"jobs.lift.enabled"},
    "jobs.backfill.enabled=true,captioner.mode=off": {"jobs.backfill.enabled", "jobs.captions"},
    "jobs.volume.create=true,jobs.volume.existingClaim=mine": {"jobs.volume"},
    "jobs.work.onVolume=true,jobs.data=/volume/data": {"jobs.work.onVolume", "jobs.data"},
    "gateway.enabled=true": {"gateway.parentRefs"},
    "gateway.grpc=true": {"gateway.grpc"},
    "ingress.enabled=true": {"ingress.hosts"},
    "tests.items={i0001,i0001}": {"tests.items"},
    "tls.enabled=true": {"tls.secrets.ranker", "tls.secrets.items", "tls.secrets.captioner"},
    "tls.issuer.name=ca": {"tls.issuer.name"},
    "tls.secrets.items=own": {"tls.secrets.items"},
    f"{TLS},captioner.mode=off,tls.secrets.captioner=own": {"tls.secrets.captioner"},
    f"{TLS},transformer.settings.predictor_tls_name=triton": {"transformer.settings.predictor_tls_name"},
    f"{TLS},{EXPERIMENTS},experiments.exposures.url=redis://sightline-items:6379/0?stream=seen": {
        "experiments.exposures.url"
    },
}


@cache
def message(settings: str) -> str:
    with pytest.raises(RenderError) as refused:
        render(settings=[settings])
    return str(refused.value)


@pytest.mark.parametrize("settings", REFUSED)
def test_a_combination_that_cannot_work_is_refused_by_its_path(settings: str) -> None:
    said = re.findall(r"^- (.+?): ", message(settings), re.MULTILINE)
    assert set(said) == REFUSED[settings], message(settings)


def test_every_sentence_of_the_checks_is_said_by_a_refused_combination() -> None:
    everything = "\n".join(message(settings) for settings in REFUSED)
    sentences = [
        (path.name, line)
        for path in sorted((CHART / "templates" / "checks").glob("_*.tpl"))
        if path.name != "_claims.tpl"  # of a living release: tests/cluster_api/test_claims.py
        for line in path.read_text().splitlines()
        if line.startswith("- ")
    ]
    assert len(sentences) > 60
    unsaid = [(name, line) for name, line in sentences if _longest(line) not in everything]
    assert unsaid == []


def _longest(line: str) -> str:
    """The longest stretch of a template's line that is printed as it stands."""
    return max(re.split(r"\{\{.*?\}\}", line), key=len)


def test_a_sentence_tells_what_to_do() -> None:
    """A fault is followed by an order: the second sentence begins with a verb."""
    orders = re.compile(
        r"[.,;:] (Set|Give|Write|Choose|Raise|Lower|Remove|Correct|Enable|Use|Name|Put|Allow|Leave|or) "
    )
    lines = [line for settings in REFUSED for line in message(settings).splitlines() if line.startswith("- ")]
    assert [line for line in lines if not orders.search(line)] == []
