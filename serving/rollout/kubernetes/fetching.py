"""The bundle that a pod fetches when it starts: read from its spec, and replaced in a copy of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from models.store.trust import PREFIX as TRUST
from serving.rollout.experiment.ports import RefusedError
from serving.rollout.kubernetes.api import Object

_COMMAND = ["sightline", "models", "fetch"]
_FOLDER = "/mnt/bundle"
_BUNDLE = "--bundle="


def fetched(pod: Object) -> str | None:
    """The bundle that the pod's fetch containers bring; None for a pod that has none. Raises RefusedError."""
    found = {container["args"][_place(container)] for container in _fetching(pod)}
    if len(found) > 1:
        raise RefusedError(f"a pod fetches different bundles {sorted(found)}; expected one")
    return str(found.pop()) if found else None


def with_bundle(pod: Object, bundle: str, *, image: str, secret: str, where: str) -> Object:
    """A copy of the pod's spec that serves another bundle.

    A pod that serves the bundle in its image gets a fetch container.

    Args:
        image: for that container: one with the `sightline` command and the clients of model stores.
        secret: Secret with the store's credentials, for that container; empty: it needs none.
        where: names the pod's object in messages.

    Raises:
        RefusedError: the pod says nowhere which bundle it serves.
    """
    made = copy.deepcopy(pod)
    containers = list(_fetching(made))
    for container in containers:
        container["args"][_place(container)] = bundle
    if not containers:
        _add_fetching(made, bundle, image, secret, where)
    return made


def with_argument(container: Object, option: str, value: str) -> None:
    """Give a container's option (`--name=`) another value; append it where it is not given."""
    arguments = container.setdefault("args", [])
    for at, argument in enumerate(arguments):
        if argument.startswith(option):
            arguments[at] = option + value
            return
    arguments.append(option + value)


def _fetching(pod: Object) -> Iterator[Object]:
    return (each for each in pod.get("initContainers") or () if each.get("command") == _COMMAND)


def _place(container: Object) -> int:
    """Where the bundle is among the arguments: the first that is no option."""
    for at, argument in enumerate(container.get("args") or ()):
        if not argument.startswith("-"):
            return at
    raise RefusedError(
        f"container {container['name']} runs `{' '.join(_COMMAND)}` with {container.get('args')}; "
        "expected the bundle's URI among the arguments"
    )


def _add_fetching(pod: Object, bundle: str, image: str, secret: str, where: str) -> None:
    main = pod["containers"][0]
    if not any(each.startswith(_BUNDLE) for each in main.get("args") or ()):
        raise RefusedError(
            f"{where} has no container that runs `{' '.join(_COMMAND)}` and no argument {_BUNDLE}…, so nothing says "
            "which bundle it serves; serve one of a model store (model.source=store)"
        )
    with_argument(main, _BUNDLE, _FOLDER)
    main["volumeMounts"] = [
        *main.get("volumeMounts", []),
        {"name": "bundle", "mountPath": _FOLDER, "readOnly": True},
    ]
    mounts = [{"name": "bundle", "mountPath": _FOLDER}, {"name": "fetching", "mountPath": "/tmp"}]
    fetch: dict[str, Any] = {
        "name": "fetch-bundle",
        "image": image,
        "command": list(_COMMAND),
        "args": [bundle, f"--to={_FOLDER}", "--layout=bundle"],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": mounts,
    }
    if "imagePullPolicy" in main:
        fetch["imagePullPolicy"] = main["imagePullPolicy"]
    if "securityContext" in main:
        fetch["securityContext"] = copy.deepcopy(main["securityContext"])
    if trust := [each for each in main.get("env") or () if str(each.get("name", "")).startswith(TRUST)]:
        fetch["env"] = copy.deepcopy(trust)
    if secret:
        fetch["envFrom"] = [{"secretRef": {"name": secret}}]
    pod["initContainers"] = [*(pod.get("initContainers") or []), fetch]
    empty: list[Object] = [{"name": name, "emptyDir": {}} for name in ("bundle", "fetching")]
    pod["volumes"] = [*(pod.get("volumes") or []), *empty]
