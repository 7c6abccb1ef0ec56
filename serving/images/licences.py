"""The licence of each part, as one SPDX expression, and whether the written list allows it."""

from collections.abc import Mapping
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import yaml
from license_expression import ExpressionError, get_spdx_licensing
from pydantic import BaseModel, ConfigDict

LIST = Path(__file__).with_name("licences.yaml")
_SPDX: Any = get_spdx_licensing()
_CLASSIFIER = "License :: "


class UnknownLicenceError(ValueError):
    """A package's metadata names no licence that the list knows."""


class Licences(BaseModel):
    """licences.yaml: what is allowed, what packages say and mean, who says nothing, what is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    allowed: frozenset[str]
    said: Mapping[str, str]
    packages: Mapping[str, str]
    left_out: Mapping[str, str]

    def of(self, part: Distribution) -> str:
        """SPDX expression of a package. Raises UnknownLicenceError."""
        metadata = part.metadata
        name = str(metadata["Name"])
        if name.lower() in self.packages:
            return self.packages[name.lower()]
        words = [*(metadata.get_all("License-Expression") or ()), *(metadata.get_all("License") or ())]
        words += [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if _CLASSIFIER in line]
        given = [word.strip() for word in map(str, words) if word.strip()]
        for word in given:
            if found := self._expression(word):
                return found
        raise UnknownLicenceError(
            f"{name} {part.version} says {given[0][:60]!r} about its licence" if given else f"{name} names no licence"
        )

    def allows(self, expression: str) -> bool:
        """Whether one of an `OR`'s and all of an `AND`'s licences are on the list."""
        return self._allows(_SPDX.parse(expression, simple=False))

    def _expression(self, word: str) -> str | None:
        if word in self.said:
            return self.said[word]
        try:
            return str(_SPDX.parse(word, validate=True, strict=True)) if "\n" not in word else None
        except ExpressionError:
            return None

    def _allows(self, tree: Any) -> bool:
        if isinstance(tree, _SPDX.OR):
            return any(map(self._allows, tree.args))
        if isinstance(tree, _SPDX.AND):
            return all(map(self._allows, tree.args))
        return str(tree) in self.allowed


def read(path: Path = LIST) -> Licences:
    """The written list."""
    return Licences.model_validate(yaml.safe_load(path.read_text("utf-8")))
