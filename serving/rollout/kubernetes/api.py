"""The Kubernetes API as the operator uses it: objects in and out, and every failure as one that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from serving.rollout.experiment.ports import RefusedError, RetryError

Object = dict[str, Any]
MANAGER = "sightline-controller"
"""Who wrote a field, as `kubectl get --show-managed-fields` and helm's conflicts name it."""
TIMEOUT_SECONDS = 20.0
_MERGE_PATCH = "application/merge-patch+json"


class ConflictError(RetryError):
    """Somebody else changed or made the object in between: read it again."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object. `group` is empty for the core's."""

    group: str
    version: str
    plural: str
    name: str

    @property
    def api_version(self) -> str:
        """As objects write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The address below the API server's."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return "/".join(filter(None, (f"{root}/namespaces/{namespace}/{self.plural}", name, subresource)))


EXPERIMENT = Kind("sightline.dev", "v1alpha1", "experiments", "Experiment")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
INFERENCE_SERVICE = Kind("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
SERVICE = Kind("", "v1", "services", "Service")
POD = Kind("", "v1", "pods", "Pod")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
SECRET = Kind("", "v1", "secrets", "Secret")
EVENT = Kind("", "v1", "events", "Event")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")


class Api:
    """Requests, one at a time each; safe to share between threads.

    All methods raise RetryError for what may be otherwise later, permissions included, since a Role can be given while
    an experiment waits; ConflictError is one of these. RefusedError is for a request that is wrong in itself.
    """

    def __init__(self, client: Any, *, before_writing: Callable[[], None] = lambda: None) -> None:
        """`client` is a `kubernetes.client.ApiClient`; `before_writing` raises RetryError when nothing may change."""
        self._client = client
        self._before_writing = before_writing

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object; None where there is none."""
        return self._asked("get", kind, namespace, name, absent=True)

    def list(self, kind: Kind, namespace: str, selector: str = "") -> list[Object]:
        """The objects, those with the labels of the selector."""
        query = {"labelSelector": selector} if selector else {}
        found = self._asked("list", kind, namespace, "", query=query)
        return list((found or {}).get("items") or [])

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Make it. ConflictError when there is one of that name."""
        whole = {"apiVersion": kind.api_version, "kind": kind.name, **body}
        return self._asked("create", kind, namespace, "", body=whole, shown=_name_of(body)) or {}

    def replace(self, kind: Kind, namespace: str, body: Object, subresource: str = "") -> Object:
        """Put the object, or its subresource, in place of the one of its resourceVersion. ConflictError if it moved."""
        name = _name_of(body)
        return self._asked("update", kind, namespace, name, body=body, subresource=subresource) or {}

    def patch(self, kind: Kind, namespace: str, name: str, changes: Object, *, version: str) -> Object:
        """Merge the changes (RFC 7386) into the object of that resourceVersion. ConflictError if it moved."""
        whole = {**changes, "metadata": {**changes.get("metadata", {}), "resourceVersion": version}}
        return self._asked("patch", kind, namespace, name, body=whole) or {}

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object of that uid; one that is not there is no error."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        self._asked("delete", kind, namespace, name, body=options, absent=True)

    def _asked(
        self,
        verb: str,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        subresource: str = "",
        shown: str = "",
        absent: bool = False,
    ) -> Object | None:
        if verb not in ("get", "list"):
            self._before_writing()
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        doing = f"cannot {verb} {kind.name} {'/'.join(filter(None, (namespace, name or shown)))}"
        try:
            status, text = self._sent(verb, kind.path(namespace, name, subresource), query or {}, body)
        except (ApiException, HTTPError, OSError) as error:
            raise RetryError(f"{doing}: the API server does not answer ({_root(error)})") from error
        if status == 404 and absent:
            return None
        if status >= 300:
            raise _refusal(status, text, doing, verb, kind.group, resource)
        return _document(text, doing)

    def _sent(self, verb: str, path: str, query: Mapping[str, str], body: Object | None) -> tuple[int, bytes]:
        method = _METHODS[verb]
        queries = [*query.items(), *([("fieldManager", MANAGER)] if verb in _MANAGED else [])]
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = _MERGE_PATCH if verb == "patch" else "application/json"
        request = self._client.param_serialize(
            method,
            path,
            query_params=queries,
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
        return int(answer.status), bytes(answer.read())


_METHODS = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_MANAGED = frozenset({"create", "update", "patch"})


def _refusal(status: int, text: bytes, doing: str, verb: str, group: str, resource: str) -> Exception:
    told = f"{doing}: {_said(text)} (HTTP {status})"
    if status == 409:
        return ConflictError(told)
    if status == 403:
        rule = f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]'
        return RetryError(f"{told}; give the operator's Role a rule with {rule}")
    if status == 401:
        return RetryError(f"{told}; the operator's token is not accepted: look at its ServiceAccount")
    if status in (400, 422):
        return RefusedError(f"{told}; correct what the message names")
    if status == 404:
        return RetryError(f"{told}; it was deleted, or its kind is not installed")
    return RetryError(told)


def _said(text: bytes) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200].decode(errors="replace") or "no reason given"


def _document(text: bytes, doing: str) -> Object:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RetryError(
            f"{doing}: the answer is no JSON ({text[:80]!r}); what is in front of the API server?"
        ) from error
    if not isinstance(found, dict):
        raise RetryError(f"{doing}: the answer is no object ({text[:80]!r}); what is in front of the API server?")
    return found


def _name_of(body: Object) -> str:
    metadata = body.get("metadata", {})
    return str(metadata.get("name") or metadata.get("generateName", ""))


def _root(error: BaseException) -> str:
    """The innermost reason of urllib3's errors, which wrap one another."""
    while isinstance(inner := getattr(error, "reason", None), BaseException):
        error = inner
    return str(error) or type(error).__name__
