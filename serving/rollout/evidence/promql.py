"""What Prometheus is asked: the transformer's metrics of one arm, and queries of the user's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

_PLACEHOLDER = re.compile(r"\$(\{)?([A-Za-z_][A-Za-z0-9_]*)(?(1)\})")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", '"': "\\x22", "'": "\\x27", "`": "\\x60"}


class PromqlError(ValueError):
    """A query that cannot be filled in; the message says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An arm of an experiment on a model, over a time that ends now."""

    model: str
    experiment: str
    arm: str
    span: timedelta

    def requests(self) -> str:
        """Rankings, by outcome."""
        return f"sum by (outcome) ({self._increase('sightline_arm_requests_total')})"

    def degraded(self) -> str:
        """Rankings that were degraded."""
        return f"sum({self._increase('sightline_arm_degraded_total')})"

    def seconds(self) -> str:
        """Rankings by the upper bounds of their seconds, cumulative."""
        return f"sum by (le) ({self._increase('sightline_arm_seconds_bucket')})"

    def fill(self, query: str) -> str:
        """The query with $arm, $model, $experiment and $window (or ${arm} …) filled in.

        Texts are escaped for a quoted string of PromQL, so that a name can never end it. Raises PromqlError.
        """
        known = {
            "arm": _escaped(self.arm),
            "model": _escaped(self.model),
            "experiment": _escaped(self.experiment),
            "window": _range(self.span),
        }
        unknown = sorted({found[2] for found in _PLACEHOLDER.finditer(query)} - known.keys())
        if unknown:
            raise PromqlError(
                f"the query has {['$' + name for name in unknown]}; expected {['$' + name for name in known]}"
            )
        return _PLACEHOLDER.sub(lambda found: known[found[2]], query)

    def _increase(self, metric: str) -> str:
        labels = f'model="{_escaped(self.model)}",experiment="{_escaped(self.experiment)}",arm="{_escaped(self.arm)}"'
        return f"increase({metric}{{{labels}}}[{_range(self.span)}])"


def _escaped(text: str) -> str:
    """For a string in either kind of quotes: \\" is no escape within single ones."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _range(span: timedelta) -> str:
    """A length of time as PromQL writes it: whole numbers only."""
    return f"{max(round(span.total_seconds() * 1000), 1)}ms"
