"""The chart's values that make a release serve a bundle, as the command that gives them to helm."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from models.store.trust import unpinned
from serving.rollout.experiment.spec import ExperimentSpec, Promotion

_IMAGE = "/opt/sightline/"
_DEMO = "/opt/sightline/demo/bundles/ranker"
"""What the chart serves by model.source=demo: no other bundle of the image can be named in values."""


def unpromotable(spec: ExperimentSpec) -> str:
    """Why the candidate must not be promoted here, and what to do; empty where it may.

    Promoted, what no values can name would be taken back by the next upgrade, whatever its values are.
    """
    bundle = spec.candidate.bundle
    if spec.promotion is Promotion.REPORT or not bundle.startswith(_IMAGE) or bundle == _DEMO:
        return ""
    return (
        f"spec.promotion is {spec.promotion} and spec.candidate.bundle {bundle}, which is in the image and which the "
        "chart's values cannot name, so that the next upgrade would take the promotion back: set promotion: report, or "
        f"bring the bundle to a model store (`sightline models publish {bundle} --store s3://bucket/models`)"
    )


def claims(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """By the folder under which a pod's containers see it: the name of a PersistentVolumeClaim."""
    named = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.get("volumes") or ()
        if "persistentVolumeClaim" in volume
    }
    containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
    mounts = [mount for container in containers for mount in container.get("volumeMounts") or ()]
    return {mount["mountPath"].rstrip("/"): named[mount["name"]] for mount in mounts if mount["name"] in named}


def uri_of(bundle: str, mounted: Mapping[str, str]) -> str:
    """The bundle as model.uri names it: pvc://claim/path for one on a mounted claim."""
    for folder, claim in mounted.items():
        if bundle.startswith(f"{folder}/"):
            return f"pvc://{claim}/{bundle.removeprefix(f'{folder}/')}"
    return bundle


def storage_uri(bundle: str, mounted: Mapping[str, str]) -> str:
    """Triton's repository in the bundle, for KServe's storage initializer, which knows no digests."""
    return f"{unpinned(uri_of(bundle, mounted))[0].rstrip('/')}/repository"


def helm_command(
    release: str,
    namespace: str,
    bundle: str,
    mounted: Mapping[str, str],
    *,
    secret: str,
    others: Mapping[str, str] | None = None,
) -> str:
    """What to run, or why no values name the bundle and what to do then.

    Args:
        mounted: claims by the folder under which pods see them.
        secret: Secret with the store's credentials; empty: it needs none.
        others: values beside the model's.
    """
    uri = uri_of(bundle, mounted)
    if uri == _DEMO:
        model = {"model.source": "demo", "model.uri": "", "model.credentialsSecret": ""}
    elif "://" in uri:
        credentials = {"model.credentialsSecret": secret} if secret and uri == bundle else {}
        model = {"model.source": "store", "model.uri": uri, **credentials}
    else:
        return (
            f"the chart's values cannot name {bundle}: it is in the image, or in no place that model.uri knows; bring "
            f"it to a model store (`sightline models publish {bundle} --store s3://bucket/models`), and set "
            "model.source=store and model.uri to what that prints"
        )
    given = {**model, **(others or {})}
    options = " ".join(f"--set {shlex.quote(f'{name}={_escaped(value)}')}" for name, value in given.items())
    return f"helm upgrade {release} charts/sightline --namespace {namespace} --reset-then-reuse-values {options}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")
