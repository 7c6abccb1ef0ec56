"""Faults at any call of a step: no answer, an answer that is lost, a process that ends before or after the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from serving.rollout.experiment.evidence import EvidenceError
from serving.rollout.experiment.ports import RetryError
from tests.experiments_life.worlds import KilledError


class Fault(StrEnum):
    NO_ANSWER = "no-answer"
    ANSWER_LOST = "answer-lost"
    KILLED_BEFORE = "killed-before"
    KILLED_AFTER = "killed-after"


@dataclass
class Faults:
    """Faults by the number of the call within a step."""

    plan: Mapping[int, Fault] = field(default_factory=dict)
    calls: int = 0
    met: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def wrap(self, name: str, port: Any) -> Any:
        if name == "save":
            return self._call("save", port)
        return port if name == "clock" else _Port(self, name, port)

    def _call(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            fault = self.plan.get(self.calls)
            self.names.append(name)
            self.calls += 1
            silent = name.startswith("notices.")  # a notice never raises
            if fault is None or (silent and fault in (Fault.NO_ANSWER, Fault.ANSWER_LOST)):
                return method(*args, **kwargs)
            self.met.append(f"{name} {fault}")
            if fault in (Fault.ANSWER_LOST, Fault.KILLED_AFTER):
                method(*args, **kwargs)
            if fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER):
                raise KilledError(name)
            raise EvidenceError(name) if name.startswith("metrics.") else RetryError(name)

        return call


class _Port:
    def __init__(self, faults: Faults, name: str, port: Any) -> None:
        self._faults, self._name, self._port = faults, name, port

    def __getattr__(self, method: str) -> Any:
        return self._faults._call(f"{self._name}.{method}", getattr(self._port, method))
