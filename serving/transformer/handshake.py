"""Before a score is believed: does Triton serve the model that belongs to our contract?"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from models.contract import Contract, TensorSpec
from serving.transformer.errors import NotReadyError, ServiceError
from serving.transformer.wire import DATATYPES

DIGEST_PARAMETER = "contract_digest"


class ModelSource(Protocol):
    """What the handshake asks of the predictor."""

    async def ready(self, model: str, deadline: float) -> bool:
        """Whether a version of the model is ready."""
        ...

    async def config(self, model: str, deadline: float) -> Any:
        """Triton's ModelConfig."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ready`, or the reason why not; `mismatch` says that waiting will not help."""

    ready: bool
    reason: str
    mismatch: bool = False


NEVER_CHECKED = Verdict(False, "the predictor was not asked yet")


def mismatches(config: Any, contract: Contract, rows: int) -> list[str]:
    """What in Triton's ModelConfig does not fit the contract; empty if all does. `rows` must fit into one batch."""
    digest = config_digest(config)
    if digest != contract.digest:
        ours = f"the bundle's contract {contract.name} v{contract.version} is {contract.digest}"
        return [f"Triton serves contract {digest or 'unknown'}, {ours}: place that bundle in Triton"]
    faults = _tensor_faults("input", list(config.input), contract.tensors)
    outputs = [output for output in config.output if output.name == contract.output.name]
    faults += _tensor_faults("output", outputs, [contract.output])
    if config.max_batch_size < rows:
        found = f"Triton's max_batch_size is {config.max_batch_size}"
        faults.append(f"{found}, requests may have {rows} candidates: lower --max_candidates")
    return faults


def config_digest(config: Any) -> str:
    """The contract digest that the model's config.pbtxt names; empty if it names none."""
    for entry in config.parameters:
        if entry.key == DIGEST_PARAMETER:
            return str(entry.value.string_value)
    return ""


def _tensor_faults(kind: str, found: Sequence[Any], expected: Sequence[TensorSpec]) -> list[str]:
    given = {tensor.name: (tensor.data_type, _significant(tensor.dims)) for tensor in found}
    wanted = {spec.name: (DATATYPES[spec.dtype][1], _significant(spec.shape[1:])) for spec in expected}
    faults = []
    for name in sorted(given.keys() | wanted.keys()):
        if given.get(name) != wanted.get(name):
            faults.append(f"{kind} {name!r} is {_described(given.get(name))}, expected {_described(wanted.get(name))}")
    return faults


def _significant(dims: Sequence[int]) -> tuple[int, ...]:
    """A score per row is written [] or [1]: Triton cannot express the first in every platform."""
    return () if tuple(dims) == (1,) else tuple(dims)


def _described(tensor: tuple[int, tuple[int, ...]] | None) -> str:
    if tensor is None:
        return "absent"
    names = {number: name for name, number in DATATYPES.values()}
    return f"{names.get(tensor[0], f'type {tensor[0]}')} {list(tensor[1])} per row"


class Handshake:
    """Keeps the verdict on one model up to date. `clock` gives seconds, `sleep` waits, `report` hears of changes."""

    def __init__(
        self,
        model: str,
        contract: Contract,
        source: ModelSource,
        *,
        rows: int,
        clock: Callable[[], float],
        report: Callable[[str, Verdict], None],
        retry_after: float,
        interval: float = 5.0,
        interval_unready: float = 0.5,
        timeout: float = 2.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._model, self._contract, self._source = model, contract, source
        self._rows, self._clock, self._report, self._sleep = rows, clock, report, sleep
        self._retry_after, self._timeout = retry_after, timeout
        self._interval, self._interval_unready = interval, interval_unready
        self._versions: set[str] = set()
        self.verdict = NEVER_CHECKED

    async def check(self) -> Verdict:
        """Ask Triton now, remember and report the verdict."""
        verdict = await self._ask()
        if verdict != self.verdict:
            self._versions.clear()
            self.verdict = verdict
            self._report(self._model, verdict)
        return verdict

    async def watch(self) -> None:
        """Check again and again, faster while not ready; runs until cancelled."""
        while True:
            verdict = await self.check()
            await self._sleep(self._interval if verdict.ready else self._interval_unready)

    def require(self) -> None:
        """Raise `NotReadyError` unless the last verdict was good."""
        if not self.verdict.ready:
            wait = f"; try again in {self._retry_after:g} s"
            raise NotReadyError(f"model {self._model!r} is not ready: {self.verdict.reason}{wait}", self._retry_after)

    async def confirm(self, version: str) -> None:
        """Accept an answer of a model version; one not seen since the last change is checked first.

        Triton may have been given another bundle a moment ago: its scores must not pass. Raises `NotReadyError`.
        """
        if version not in self._versions:
            await self.check()
            self.require()
            self._versions.add(version)

    def doubt(self) -> None:
        """Forget which versions were confirmed: Triton was away and may come back with another model."""
        self._versions.clear()

    async def _ask(self) -> Verdict:
        deadline = self._clock() + self._timeout
        try:
            if not await self._source.ready(self._model, deadline):
                return Verdict(False, "Triton has no version of it ready; see Triton's log")
            config = await self._source.config(self._model, deadline)
        except ServiceError as cause:
            return Verdict(False, cause.message)
        faults = mismatches(config, self._contract, self._rows)
        return Verdict(not faults, "; ".join(faults), mismatch=bool(faults))
