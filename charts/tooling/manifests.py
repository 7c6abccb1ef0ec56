"""manifests/: the chart's objects for people without Helm.

    manifests/kind, manifests/gpu    profiles of the chart with a kustomization: `kubectl apply -k manifests/kind`
    manifests/experiments            what experiments add to manifests/kind, and what they change there
    manifests/jobs                   Jobs for the kind profile: `kubectl create --filename manifests/jobs/train.yaml`

No Secret is in them: the item store's passwords, the key of pseudonyms and the collector's tokens are Secrets that the
reader makes, and the files say how.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from charts.tooling.render import Object, parse, render
from charts.tooling.values import CHART

FOLDER = CHART.parents[1] / "manifests"
PROFILES = ("kind", "gpu")
JOBS = ("train", "lift", "publish", "backfill")
CLAIM = ("PersistentVolumeClaim", "jobs")
EXPERIMENTS = "experiments"
MANIFESTS = tuple(FOLDER / name for name in (*PROFILES, EXPERIMENTS, "jobs"))

COMPONENT = "app.kubernetes.io/component"
HELMS_OWN = ("helm.sh/", "app.kubernetes.io/managed-by", "meta.helm.sh/")
SECRET = "sightline-items"
PSEUDONYMS = "sightline-pseudonyms"
TOKENS = "sightline-collector-tokens"
GENERATED = "# Written by `make chart` from charts/sightline: change the chart, not this file.\n"
# The passwords have the name that the chart would give it, so that the Jobs also run beside an installation by Helm.
SETTINGS = (
    f"items.redis.bundled.existingSecret={SECRET}",
    "jobs.serviceAccount.create=false",
    *(f"jobs.{job}.enabled=true" for job in JOBS),
)
WITH_EXPERIMENTS = (
    "experiments.enabled=true",
    f"experiments.pseudonyms.existingSecret={PSEUDONYMS}",
    f"experiments.collector.tokens.existingSecret={TOKENS}",
)
# Backfill writes captions where it can; train and lift read those that the image carries, as a fresh claim has none.
WRITTEN = "jobs.captions=/volume/captions"

NAMESPACE: Object = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "sightline", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}
KUSTOMIZATION = """\
#   kubectl apply -k manifests/{profile}
#   kubectl --namespace sightline create secret generic {secret} --from-literal=password="$(openssl rand -hex 24)" \\
#     --from-literal=reader-password="$(openssl rand -hex 24)"
# The second command makes the passwords of the item store's two users, once; the pods wait for them. Change images,
# replicas and the rest by a kustomization of your own that names this folder under `resources`.
"""
OVERLAY = """\
#   kubectl apply -k manifests/experiments
#   kubectl --namespace sightline create secret generic {secret} --from-literal=password="$(openssl rand -hex 24)" \\
#     --from-literal=reader-password="$(openssl rand -hex 24)"
#   kubectl --namespace sightline create secret generic {pseudonyms} --from-literal=key="$(openssl rand -hex 24)"
#   kubectl --namespace sightline create secret generic {tokens} \\
#     $(for k in outcomes exposures evidence forget inference arm; do \\
#         echo --from-literal=$k=$(openssl rand -hex 24); done)
# It is manifests/kind with what experiments add and change; the node needs 2 GB more. The last three commands make the
# item store's passwords, the key of the users' pseudonyms, and the collector's tokens, one for each right, with the
# keys by which the controller warms candidates and a person names the arm that answers, once.
# manifests/samples/experiment.yaml is an experiment.
"""
PLACES = """\
#   kubectl --namespace sightline create --filename manifests/jobs/{job}.yaml
# What it writes stays on the claim, for a replaced pod and for the Jobs after it: once it is there, kubectl says
# "already exists" of it and makes the Job. The claim wants a default StorageClass; where there is none, the pod waits
# for ever: use `sightline job submit {job}`, which says so and goes on without, or name s3://bucket/models in the
# arguments, with `envFrom` a Secret that has AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def manifest_files() -> dict[Path, str]:
    """Text of every file below manifests/ that the chart makes. Raises RenderError with Helm's message."""
    files: dict[Path, str] = {}
    for profile in PROFILES:
        values = [CHART / f"values-{profile}.yaml"]
        objects = parse(render(values, (*SETTINGS, WRITTEN)))
        files |= dict(_profile(profile, served(objects)))
        if profile == "kind":
            experiments = served(parse(render(values, (*SETTINGS, WRITTEN, *WITH_EXPERIMENTS))))
            files |= dict(_overlay(profile, served(objects), experiments))
            reading = parse(render(values, (*SETTINGS, "jobs.backfill.enabled=false")))
            files |= dict(_jobs(objects)) | dict(_jobs(reading))
    return files


def served(objects: list[Object]) -> list[Object]:
    """What stays: without Jobs that people start, their claim, tests and Helm's marks; with the namespace."""
    started = [each for each in objects if (each["kind"], _component(each)) in {*(("Job", job) for job in JOBS), CLAIM}]
    kept = [each for each in objects if each not in started and not _is_test(each)]
    return [NAMESPACE, *map(_plain, kept)]


def _profile(profile: str, objects: list[Object]) -> Iterator[tuple[Path, str]]:
    parts: dict[str, list[Object]] = defaultdict(list)
    for each in objects:
        parts[_file(each)].append(each)
    for name, members in sorted(parts.items()):
        yield FOLDER / profile / f"{name}.yaml", GENERATED + dump(*members)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "sightline",
        "resources": [f"{name}.yaml" for name in sorted(parts)],
    }
    head = KUSTOMIZATION.format(profile=profile, secret=SECRET)
    yield FOLDER / profile / "kustomization.yaml", GENERATED + head + dump(kustomization)


def _overlay(base: str, known: list[Object], wanted: list[Object]) -> Iterator[tuple[Path, str]]:
    """A kustomization over another one: new objects as resources, changed ones whole, as patches."""
    before = {_identity(each): each for each in known}
    parts: dict[str, list[Object]] = defaultdict(list)
    patches: dict[str, Object] = {}
    for each in wanted:
        if _identity(each) not in before:
            parts[_file(each)].append(each)
        elif each != before[_identity(each)]:
            patches[f"changed-{each['kind'].lower()}-{_component(each)}"] = each
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "sightline",
        "resources": [f"../{base}", *(f"{name}.yaml" for name in sorted(parts))],
        "patches": [{"path": f"{name}.yaml"} for name in sorted(patches)],
    }
    for name, members in sorted((parts | {name: [each] for name, each in patches.items()}).items()):
        yield FOLDER / EXPERIMENTS / f"{name}.yaml", GENERATED + dump(*members)
    head = OVERLAY.format(secret=SECRET, pseudonyms=PSEUDONYMS, tokens=TOKENS)
    yield FOLDER / EXPERIMENTS / "kustomization.yaml", GENERATED + head + dump(kustomization)


def _identity(each: Object) -> tuple[str, str]:
    return each["kind"], each["metadata"]["name"]


def _jobs(objects: list[Object]) -> Iterator[tuple[Path, str]]:
    (claim,) = (_plain(each) for each in objects if (each["kind"], _component(each)) == CLAIM)
    for job in (each for each in objects if each["kind"] == "Job" and _component(each) in JOBS):
        component = _component(job)
        plain = _plain(job)
        named = {"generateName": f"sightline-{component}-"} | plain["metadata"]
        del named["name"]
        text = dump(claim, plain | {"metadata": named})
        yield FOLDER / "jobs" / f"{component}.yaml", GENERATED + PLACES.format(job=component) + text


def dump(*objects: Object) -> str:
    """YAML documents, keys in their order."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=1000, explicit_start=len(objects) > 1)


def _component(each: Object) -> str:
    return str(each["metadata"].get("labels", {}).get(COMPONENT, ""))


def _file(each: Object) -> str:
    special = {"NetworkPolicy": "network", "Namespace": "namespace", "CustomResourceDefinition": "crd"}
    return special.get(each["kind"]) or _component(each) or "other"


def _is_test(each: Object) -> bool:
    return "helm.sh/hook" in each["metadata"].get("annotations", {}) or _component(each) in {"test", "tests"}


def _plain(each: Object) -> Object:
    """Without the marks by which Helm knows its objects."""
    metadata = dict(each["metadata"])
    metadata.pop("namespace", None)
    for key in ("labels", "annotations"):
        kept = {name: text for name, text in _texts(metadata.pop(key, None)).items() if not name.startswith(HELMS_OWN)}
        if kept:
            metadata[key] = kept
    return {key: metadata if key == "metadata" else value for key, value in each.items()}


def _texts(found: Mapping[str, str] | None) -> Mapping[str, str]:
    return found or {}
