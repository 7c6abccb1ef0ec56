"""A namespace `shop` with a release in it, as the chart makes it, and an experiment on its ranker."""

import copy
import json
from typing import Any

Object = dict[str, Any]
NAMESPACE = "shop"
OLD = "s3://models/ranker/1"
_NAMES = {"app.kubernetes.io/name": "sightline", "app.kubernetes.io/instance": "sightline"}


def labels(component: str) -> dict[str, str]:
    return {**_NAMES, "app.kubernetes.io/component": component}


def _fetch(layout: str = "bundle") -> Object:
    folder = {"bundle": "/mnt/bundle", "repository": "/mnt/models"}[layout]
    return {
        "name": f"fetch-{layout}",
        "image": "sightline/transformer:0.1.0",
        "command": ["sightline", "models", "fetch"],
        "args": [OLD, f"--to={folder}", f"--layout={layout}"],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": layout, "mountPath": folder}],
    }


def deployment(component: str, *, demo: bool = False) -> Object:
    ports = [{"name": "h2c", "containerPort": 9000}, {"name": "http", "containerPort": 8080}]
    bundle = "/opt/sightline/demo/bundles/ranker" if demo else "/mnt/bundle"
    anti = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels(component)}}
    pod: Object = {
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": anti}]
            }
        },
        "containers": [
            {
                "name": component,
                "image": f"sightline/{component}:0.1.0",
                "args": [f"--bundle={bundle}", "--host=0.0.0.0"],
                "ports": ports,
                "securityContext": {"readOnlyRootFilesystem": True},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if not demo:
        pod["initContainers"] = [_fetch()]
        pod["volumes"].append({"name": "bundle", "emptyDir": {}})
    template = {"metadata": {"labels": {**labels(component), "sightline/model": "12345678"}}, "spec": pod}
    selector = {"matchLabels": labels(component)}
    return {
        "metadata": {"name": f"sightline-{component}", "labels": labels(component)},
        "spec": {"replicas": 2, "selector": selector, "template": template, "progressDeadlineSeconds": 600},
    }


def services() -> list[Object]:
    return [
        {"metadata": {"name": "sightline-ranker"}, "spec": {"selector": labels("ranker")}},
        {
            "metadata": {"name": "sightline-ranker-headless-12345678"},
            "spec": {"clusterIP": "None", "selector": {**labels("ranker"), "sightline/model": "12345678"}},
        },
        {"metadata": {"name": "sightline-transformer"}, "spec": {"selector": labels("transformer")}},
    ]


def inference_service(*, storage: bool = True) -> Object:
    """As the chart renders it with ranker.mode=inferenceservice."""
    model: Object = {"runtime": "sightline-ranker", "modelFormat": {"name": "triton", "version": "2"}}
    predictor: Object = {
        "labels": {**labels("ranker"), "sightline/model": "12345678"},
        "annotations": {"serving.kserve.io/autoscalerClass": "hpa"},
        "minReplicas": 2,
        "maxReplicas": 5,
        "scaleMetric": "cpu",
        "scaleTarget": 70,
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "model": {**model, "protocolVersion": "grpc-v2"},
    }
    if storage:
        predictor["model"]["storageUri"] = f"{OLD}/repository"
    else:
        predictor["initContainers"] = [_fetch("repository")]
        predictor["volumes"] = [{"name": "repository", "emptyDir": {}}]
    transformer = {
        "labels": labels("transformer"),
        "minReplicas": 2,
        "initContainers": [_fetch()],
        "containers": [
            {
                "name": "kserve-container",
                "image": "sightline/transformer:0.1.0",
                "args": ["--model_name=ranker", "--predictor_host=sightline-ranker-headless-12345678:9000"],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "bundle", "emptyDir": {}}],
    }
    metadata = {"name": "sightline-ranker", "labels": labels("ranker")}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor, "transformer": transformer},
    }


def experiment(name: str, bundle: str, url: str, **spec: Any) -> Object:
    """Of kind Deployment, quick, promoted by itself."""
    made: Object = {
        "target": {"kind": "Deployment", "name": "sightline-ranker", "transformer": "sightline-transformer"},
        "candidate": {"bundle": bundle},
        "schedule": {"stages": [{"share": 5, "hold": "1s"}, {"share": 50, "hold": "1s"}]},
        "primaryMetric": {"name": "clicks", "numerator": {"event": "click"}},
        "guardrails": [{"name": "failures", "kind": "failures", "limit": 0.05}],
        "analysis": {
            "plannedUsers": 1000,
            "minimumUsers": 100,
            "minimumTime": "1s",
            "maximumTime": "60s",
            "attributionWindow": "1s",
            "lookInterval": "1s",
            "noDataLimit": "3s",
        },
        "evidence": {"collector": url, "prometheus": url},
        "promotion": "automatic",
    }
    return {
        "apiVersion": "sightline.dev/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": name},
        "spec": {**made, **copy.deepcopy(spec)},
    }


def book(store: Any) -> list[Any]:
    """The assignments that are published."""
    found = store.find("configmaps", NAMESPACE, "sightline-assignments")
    text = (found or {}).get("data", {}).get("book.json", "")
    return list(json.loads(text)["assignments"]) if text else []
