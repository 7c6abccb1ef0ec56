"""The assignment book in a ConfigMap, held against its resourceVersion."""

from __future__ import annotations

from serving.rollout.kubernetes.api import CONFIG_MAP, Api, ConflictError, Object
from serving.rollout.kubernetes.book import Page

KEY = "book.json"


class ConfigMapPlace:
    """`Place` that is a key of a ConfigMap; the ConfigMap is made where it is missing."""

    def __init__(self, api: Api, *, namespace: str, name: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name

    def read(self) -> Page:
        """The key's text, and the ConfigMap it is from."""
        found = self._api.get(CONFIG_MAP, self._namespace, self._name)
        return Page((found or {}).get("data", {}).get(KEY, ""), found)

    def write(self, text: str, version: Object | None) -> bool:
        """Replace the ConfigMap that was read; False when it was changed, made or deleted since."""
        try:
            if version is None:
                metadata = {"name": self._name, "labels": {"app.kubernetes.io/part-of": "sightline"}}
                self._api.create(CONFIG_MAP, self._namespace, {"metadata": metadata, "data": {KEY: text}})
            else:
                body = {**version, "data": {**(version.get("data") or {}), KEY: text}}
                self._api.replace(CONFIG_MAP, self._namespace, body)
        except ConflictError:
            return False
        return True

    def __str__(self) -> str:
        return f"ConfigMap {self._namespace}/{self._name}"
