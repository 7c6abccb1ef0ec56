"""A wrong value fails the installation with its path and what to do; nothing is ignored in silence."""

import pytest

from charts.tooling.render import RenderError, render

GPU = r"limits.nvidia\.com/gpu=1"
KSERVE = "ranker.mode=inferenceservice"
RAY = "captioner.mode=rayservice"
PUBLIC = "-----BEGIN PUBLIC KEY-----"
STORE = ("model.source=store", "model.uri=s3://models/ranker/7")

# Values that the schema refuses -> words of the message.
BY_SCHEMA = {
    ("rankr.replicas=2",): ["rankr"],
    ("ranker.replica=2",): ["/ranker", "replica"],
    ("ranker.replicas=two",): ["/ranker/replicas", "integer"],
    ("ranker.replicas=0",): ["/ranker/replicas", "minimum"],
    ("ranker.mode=knative",): ["/ranker/mode", "inferenceservice"],
    ("ranker.resources.limit.memory=1Gi",): ["/ranker/resources", "limit"],
    ("ranker.resources.limits.memroy=1Gi",): ["/ranker/resources/limits", "memroy"],
    ("ranker.resources.limits.memory=1GB",): ["/ranker/resources/limits/memory", "pattern"],
    ("captioner.settings.max_batch=8",): ["/captioner/settings", "max_batch"],
    ("captioner.settings.max_batch_size=0",): ["/captioner/settings/max_batch_size", "minimum"],
    ("captioner.settings.host=0.0.0.0",): ["/captioner/settings", "host"],
    ("transformer.settings.predictor_host=triton",): ["/transformer/settings", "predictor_host"],
    ("transformer.settings.workers=4",): ["/transformer/settings", "workers"],
    ("transformer.pod.nodeSelecter.disk=ssd",): ["/transformer/pod", "nodeSelecter"],
    ("transformer.pod.tolerations[0].efect=NoSchedule",): ["/transformer/pod/tolerations/0", "efect"],
    ("transformer.pod.volumes[0].name=host", "transformer.pod.volumes[0].hostPath.path=/"): ["volumes/0", "hostPath"],
    ("transformer.pod.env[0].nam=X",): ["/transformer/pod/env/0", "nam"],
    ("images.ranker.pullPolicy=Always",): ["/images/ranker", "pullPolicy"],
    ("images.pullPolicy=always",): ["/images/pullPolicy", "IfNotPresent"],
    ("items.redis.bundled.password=secret",): ["/items/redis/bundled", "password"],
    ("items.redis.external.password=secret",): ["/items/redis/external", "password"],
    ("jobs.train.enabled=yes-please",): ["/jobs/train/enabled", "boolean"],
    ("jobs.backfill.shards=0",): ["/jobs/backfill/shards", "minimum"],
    ("networkPolicy.dns.port=70000",): ["/networkPolicy/dns/port", "maximum"],
    ("networkPolicy.clients[0].namespaceSelektor.a=b",): ["/networkPolicy/clients/0", "namespaceSelektor"],
    ("gateway.parentRefs[0].namespace=x",): ["/gateway/parentRefs/0", "name"],
    ("global.pod.priorityClass=high",): ["/global/pod", "priorityClass"],
    ("experiments.assignments.via=configmap",): ["/experiments/assignments/via", "mounted"],
    ("experiments.controller.replicas=3",): ["/experiments/controller/replicas", "maximum"],
    ("experiments.collector.settings.database=/tmp",): ["/experiments/collector/settings", "database"],
    ("experiments.collector.settings.retention_days=0",): ["/experiments/collector/settings/retention_days", "0"],
    ("transformer.settings.assignments=/etc/book.json",): ["/transformer/settings", "assignments"],
    ("experiments.pseudonyms.key=secret",): ["/experiments/pseudonyms", "key"],
    ("ranker.inferenceService.predictorName=Captions",): ["/ranker/inferenceService/predictorName", "pattern"],
}

# Combinations that the templates refuse -> words of the message: the value's path, then what to do.
BY_CHECKS = {
    ("global.imageRegistri=x",): ["global.imageRegistri", "imageRegistry"],
    ("captioner.mode=external",): ["captioner.externalUrl", "Give the captioner's base URL"],
    ("captioner.externalUrl=http://x",): ["captioner.externalUrl", "ignored"],
    ("captioner.settings.model_gpus=1",): ["captioner.settings.model_gpus", "no pod has a GPU"],
    (f"captioner.resources.{GPU}",): ["captioner.settings.model_gpus", "idle"],
    (RAY, "captioner.rayService.upgrade.strategy=NewClusterWithIncrementalUpgrade"): [
        "gatewayClassName",
        "GatewayClass",
    ],
    (
        RAY,
        "captioner.rayService.upgrade.strategy=NewClusterWithIncrementalUpgrade",
        "captioner.rayService.upgrade.gatewayClassName=istio",
        "captioner.rayService.autoscaling.enabled=false",
    ): ["captioner.rayService.autoscaling.enabled", "autoscaler"],
    (
        RAY,
        "captioner.rayService.upgrade.strategy=NewClusterWithIncrementalUpgrade",
        "captioner.rayService.upgrade.gatewayClassName=istio",
        "captioner.rayService.upgrade.maxSurgePercent=10",
        "captioner.rayService.upgrade.stepSizePercent=20",
    ): ["stepSizePercent", "maxSurgePercent", "Lower"],
    (RAY, "captioner.rayService.upgrade.gatewayClassName=istio"): ["gatewayClassName", "ignored"],
    (RAY, "captioner.rayService.cpuWorkers.minReplicas=5"): ["cpuWorkers", "maxReplicas"],
    (RAY, "captioner.rayService.cpuWorkers.minReplicas=0", "captioner.rayService.cpuWorkers.maxReplicas=0"): [
        "captioner.rayService.cpuWorkers.maxReplicas",
        "at least one worker",
    ],
    (RAY, "captioner.rayService.faultTolerance.enabled=true"): ["faultTolerance.redisAddress", "Redis of its own"],
    (RAY, "captioner.maxUnavailable=10%"): ["captioner.maxUnavailable", "number"],
    ("ranker.mode=external",): ["ranker.externalHost", "Triton's gRPC address"],
    ("ranker.externalHost=triton:8001",): ["ranker.externalHost", "ignored"],
    (f"ranker.resources.{GPU}",): ["ranker.resources", "inferenceservice"],
    (KSERVE, "ranker.inferenceService.runtime=python", f"ranker.resources.{GPU}"): [
        "ranker.resources",
        "runtime=triton",
    ],
    (KSERVE, "ranker.inferenceService.storage=kserve"): ["ranker.inferenceService.storage", "model.source"],
    (KSERVE, "ranker.inferenceService.storageUri=s3://x/y"): ["ranker.inferenceService.storageUri", "ignored"],
    (KSERVE, *STORE, "model.name=other", "ranker.inferenceService.storage=kserve"): ["model.name", "ranker"],
    (KSERVE, "ranker.inferenceService.transformer=collocated", "transformer.replicas=2"): ["transformer.replicas"],
    (KSERVE, "transformer.service.type=LoadBalancer"): ["transformer.service", "ignored"],
    ("ranker.autoscaling.enabled=true", "ranker.autoscaling.by=keda"): ["ranker.autoscaling.by", "InferenceService"],
    (KSERVE, "ranker.autoscaling.enabled=true", "ranker.autoscaling.by=keda"): ["prometheusUrl", "query"],
    ("transformer.autoscaling.enabled=true", "transformer.autoscaling.minReplicas=9"): ["minReplicas", "maxReplicas"],
    ("ranker.autoscaling.enabled=true", "ranker.resources.requests.cpu=null"): ["ranker.resources.requests.cpu"],
    ("model.source=store",): ["model.uri", "s3://bucket/models/ranker/7"],
    ("model.uri=s3://models/ranker/7",): ["model.uri", "ignored"],
    ("model.source=store", "model.uri=pvc://claim"): ["model.uri", "pvc://claim/models/ranker/7"],
    ("model.source=store", "model.uri=oci://registry/x"): ["model.uri", "container image"],
    ("model.source=store", "model.uri=s3://models/ranker/7@sha256:12ab"): ["model.uri", "64 hexadecimal digits"],
    (*STORE, "model.trust.requireDigest=true"): ["model.uri", "sightline models verify"],
    (*STORE, "model.trust.required=true"): ["model.trust.required", "sightline models keygen"],
    ("model.trust.requireDigest=true",): ["model.trust.requireDigest", "model.source=store"],
    (
        KSERVE,
        *STORE,
        f"model.trust.publicKeys={{{PUBLIC}}}",
        "model.trust.required=true",
        "ranker.inferenceService.storage=kserve",
    ): [
        "model.trust.required",
        "checks neither signatures nor digests",
        "storage=init",
    ],
    ("model.trust.publicKeys={-----BEGIN PRIVATE KEY-----}",): ["model.trust.publicKeys", "never use it again"],
    ("model.trust.publicKeys={site.pub.pem}",): ["model.trust.publicKeys", '"site.pub.pem" is not a public key'],
    ("items.redis.bundled.enabled=false",): ["items.redis", "external.url"],
    ("items.redis.external.url=redis://valkey:6379/0",): ["items.redis", "bundled.enabled=false"],
    ("items.redis.bundled.enabled=false", "items.redis.external.url=redis://:secret@valkey:6379/0"): [
        "items.redis.external.url",
        "existingSecret",
    ],
    ("jobs.train.enabled=true", "jobs.volume.create=false"): ["jobs.train.enabled", "jobs.store.uri"],
    ("jobs.backfill.enabled=true", "captioner.mode=off"): ["jobs.backfill.enabled", "captioner.mode"],
    ("jobs.work.onVolume=true",): ["jobs.work.onVolume", "jobs.volume"],
    ("jobs.lift.enabled=true", "jobs.lift.schedule=weekly"): ["jobs.lift.schedule", "five fields"],
    ("jobs.lift.enabled=true", "jobs.lift.gpus=1"): ["jobs.lift.gpus", "-cuda"],
    ("gateway.enabled=true",): ["gateway.parentRefs", "Name one"],
    ("ingress.enabled=true",): ["ingress.hosts", "at least one host"],
    ("images.ranker.tag=latest",): ["images.ranker.tag", "version"],
    ("fullnameOverride=a-name-that-is-much-too-long-for-a-rayservice",): ["fullnameOverride", "shorter"],
    ("fullnameOverride=Sightline",): ["fullnameOverride", "small letters"],
}


def refused(settings: tuple[str, ...]) -> str:
    with pytest.raises(RenderError) as refusal:
        render(settings=settings)
    return str(refusal.value)


@pytest.mark.parametrize("settings", BY_SCHEMA, ids=" ".join)
def test_the_schema_refuses_a_value_with_its_path(settings: tuple[str, ...]) -> None:
    message = refused(settings)
    assert "don't meet the specifications of the schema" in message
    assert [word for word in BY_SCHEMA[settings] if word not in message] == []


@pytest.mark.parametrize("settings", BY_CHECKS, ids=" ".join)
def test_the_templates_refuse_a_combination_and_say_what_to_do(settings: tuple[str, ...]) -> None:
    message = refused(settings)
    assert "These values cannot be used together" in message
    assert [word for word in BY_CHECKS[settings] if word not in message] == []
    lines = [line for line in message.splitlines() if line.startswith("- ")]
    assert 1 <= len(lines) <= 2
    assert all(line.endswith(".") for line in lines), "a sentence that says what to do"


def test_all_faults_are_told_at_once() -> None:
    message = refused(("ranker.mode=external", "model.source=store", "ingress.enabled=true"))
    assert [line.split(":")[0] for line in message.splitlines() if line.startswith("- ")] == [
        "- model.uri",
        "- ranker.externalHost",
        "- ingress.hosts",
    ]


def test_a_secret_in_an_address_is_not_repeated() -> None:
    secret = "items.redis.external.url=redis://user:hunter2@valkey:6379/0"
    assert "hunter2" not in refused(("items.redis.bundled.enabled=false", secret))
