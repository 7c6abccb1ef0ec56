"""A key of a ConfigMap, read through the Kubernetes API with the pod's service account: `get` on that one object."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from serving.transformer.source_error import AssignmentSourceError

CONFIGMAP = "configmap://"
KEY = "book.json"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
SECONDS = 5.0
_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_PLACE = re.compile(rf"{re.escape(CONFIGMAP)}(?P<namespace>{_NAME})/(?P<name>[a-z0-9]([-.a-z0-9]{{0,251}}[a-z0-9])?)")


@dataclass(frozen=True, slots=True)
class ConfigMapName:
    """Which ConfigMap."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, place: str) -> ConfigMapName:
        """Read configmap://namespace/name. Raises `AssignmentSourceError`."""
        found = _PLACE.fullmatch(place)
        if found is None:
            raise AssignmentSourceError(f"assignments {place}: expected configmap://namespace/name")
        return cls(found["namespace"], found["name"])

    def __str__(self) -> str:
        return f"{CONFIGMAP}{self.namespace}/{self.name}"


class ConfigMapSource:
    """Reads the ConfigMap's key `book.json`.

    The token is read anew each time, as the kubelet renews it; the CA when a connection is made. `account` is the
    folder where both are mounted.
    """

    def __init__(
        self, name: ConfigMapName, environ: Mapping[str, str], account: Path = ACCOUNT, timeout: float = SECONDS
    ) -> None:
        self._name, self._environ, self._account, self._timeout = name, environ, account, timeout
        self._client: httpx.Client | None = None

    def read(self) -> bytes | None:
        """The key's text; None if there is no such ConfigMap or key. Raises `AssignmentSourceError`."""
        path = f"/api/v1/namespaces/{self._name.namespace}/configmaps/{self._name.name}"
        try:
            if self._client is None:
                self._client = self._opened()
            token = (self._account / "token").read_text().strip()
            answer = self._client.get(path, headers={"authorization": f"Bearer {token}"})
        except (httpx.HTTPError, OSError) as cause:
            self.close()
            raise self._failure(f"{cause or type(cause).__name__}; {_ADVICE}") from cause
        return self._document(answer)

    def close(self) -> None:
        """Close the connection; the next reading makes another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _opened(self) -> httpx.Client:
        host, port = self._environ.get(HOST, ""), self._environ.get(PORT, "443")
        if not host:
            raise self._failure(f"{HOST} is not set: this is no pod; give a file or redis:// instead")
        if ":" in host:
            host = f"[{host}]"
        trusted = ssl.create_default_context(cafile=self._account / "ca.crt")
        return httpx.Client(base_url=f"https://{host}:{port}", verify=trusted, timeout=self._timeout, trust_env=False)

    def _document(self, answer: httpx.Response) -> bytes | None:
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise self._failure(
                f"HTTP {answer.status_code}: {answer.text[:200]}; {_BY_STATUS.get(answer.status_code, _LATER)}"
            )
        try:
            data: Any = orjson.loads(answer.content).get("data") or {}
            text = data.get(KEY)
        except (orjson.JSONDecodeError, AttributeError) as cause:
            raise self._failure(f"the API server's answer is no ConfigMap: {answer.text[:100]!r}") from cause
        if text is not None and not isinstance(text, str):
            raise self._failure(f"{KEY} is {type(text).__name__}; expected text")
        return None if text is None else text.encode()

    def _failure(self, what: str) -> AssignmentSourceError:
        return AssignmentSourceError(f"assignments {self._name}: {what}")


_ADVICE = "is the service account's token mounted (automountServiceAccountToken), may this pod reach the API server?"
_BY_STATUS = {
    401: "the API server does not take the service account's token",
    403: "give the pod's service account a Role with `get` on that ConfigMap",
}
_LATER = "it is asked again"
