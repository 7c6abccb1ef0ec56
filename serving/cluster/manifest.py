"""A Job's manifest: found by name or path, and changed by what the command line says."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.yaml_text import YamlTextError, yaml_documents
from serving.cluster.errors import ClusterError

KINDS = ("train", "lift", "publish", "backfill")
FOLDER = Path("manifests") / "jobs"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
Object = dict[str, Any]
_OPTION = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is changed in a manifest.

    Attributes:
        options: options of the Job's program, without dashes; None for a flag that takes no value.
        image: of the Job's container. queue: Kueue's local queue. name: of the Job, in place of a generated one.
    """

    options: Mapping[str, str | None] = field(default_factory=dict)
    image: str | None = None
    queue: str | None = None
    name: str | None = None


def find(named: str) -> Path:
    """The manifest file of that path, or of that kind in manifests/jobs of this folder or of the checkout that runs.

    Raises:
        ClusterError: there is none.
    """
    if named not in KINDS:
        if Path(named).is_file():
            return Path(named)
        raise ClusterError(f"{named}: no such file; give a manifest's path, or one of {', '.join(KINDS)}")
    for folder in (FOLDER, Path(__file__).parents[2] / FOLDER):
        if (file := folder / f"{named}.yaml").is_file():
            return file
    raise ClusterError(
        f"{FOLDER}/{named}.yaml is not here; run this in the project's folder, or give a manifest's path"
    )


def read(file: Path) -> list[Object]:
    """The objects of a manifest, of which one is a Job. Raises `ClusterError`."""
    try:
        objects = yaml_documents(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YamlTextError) as error:
        raise ClusterError(f"{file}: cannot be read as YAML ({error})") from error
    if not all(
        isinstance(each, dict) and each.get("kind") and isinstance(each.get("metadata"), dict) for each in objects
    ):
        raise ClusterError(f"{file}: expected Kubernetes objects, each with kind and metadata")
    jobs = [each for each in objects if each["kind"] == "Job"]
    if len(jobs) != 1:
        raise ClusterError(f"{file}: holds {len(jobs)} Jobs, expected one")
    try:
        main_container(jobs[0])
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ClusterError(f"{file}: its Job has no container in spec.template.spec.containers") from error
    return objects


def changed(objects: Sequence[Object], changes: Changes) -> list[Object]:
    """Copies of the objects, the Job changed. Raises `ClusterError` for a change that cannot be made."""
    made = copy.deepcopy(list(objects))
    job = next(each for each in made if each["kind"] == "Job")
    container = main_container(job)
    if changes.name:
        job["metadata"].pop("generateName", None)
        job["metadata"]["name"] = changes.name
    if changes.image:
        container["image"] = changes.image
    if changes.queue:
        job["metadata"].setdefault("labels", {})[QUEUE_LABEL] = changes.queue
        job["spec"]["suspend"] = True  # until Kueue admits it
    if changes.options:
        _set_options(container, changes.options)
        _follow_shards(job, changes.options)
    return made


def main_container(job: Object) -> Object:
    """The container that does the work: the one named as the Job's component, else the first."""
    containers = job["spec"]["template"]["spec"]["containers"]
    component = job["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    found: Object = next((each for each in containers if each.get("name") == component), containers[0])
    return found


def options_of(pairs: Sequence[str]) -> dict[str, str | None]:
    """Options from "key=value" and "flag". Raises `ClusterError` for what is neither."""
    found: dict[str, str | None] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not _OPTION.fullmatch(key):
            raise ClusterError(
                f"--set {pair}: expected option=value as the Job's program takes it, such as recipe=demo"
            )
        found[key] = value if equals else None
    return found


def _set_options(container: Object, options: Mapping[str, str | None]) -> None:
    if "-c" in [*container.get("command", []), *container.get("args", [])]:
        raise ClusterError("the Job's command is a shell script, in which --set changes nothing; edit the manifest")
    arguments = [str(each) for each in container.get("args", [])]
    for key, value in options.items():
        given = f"--{key}" if value is None else f"--{key}={value}"
        at = next((i for i, each in enumerate(arguments) if each == f"--{key}" or each.startswith(f"--{key}=")), None)
        if at is None:
            arguments.append(given)
            continue
        separate = arguments[at] == f"--{key}" and value is not None
        arguments[at : at + (2 if separate else 1)] = [given]
    container["args"] = arguments


def _follow_shards(job: Object, options: Mapping[str, str | None]) -> None:
    """An Indexed Job has a pod per shard."""
    shards = options.get("shards")
    if shards is None or job["spec"].get("completionMode") != "Indexed":
        return
    if not shards.isdecimal() or int(shards) < 1:
        raise ClusterError(f"--set shards={shards}: expected a number from 1")
    job["spec"]["completions"] = int(shards)
    job["spec"]["parallelism"] = min(int(shards), int(job["spec"].get("parallelism", 1)))
