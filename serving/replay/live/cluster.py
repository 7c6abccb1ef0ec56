"""The `Cluster` port on one machine: the candidate is a Triton process, a promotion replaces processes in turn."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from models.bundle import Bundle
from models.triton.repository import place_model
from serving.ranker.command import RESTRICTION_HEADER
from serving.replay.live.servers import Transformer, Triton, transformer, triton
from serving.replay.live.slow_wire import SlowWire
from serving.replay.terms import MODEL
from serving.rollout.experiment.ports import CandidateState, Readiness, RetryError, VerifiedBundle
from serving.rollout.kubernetes.warming import warm_at
from serving.stack.errors import NotReadyError
from serving.stack.ports import HOST
from serving.stack.supervisor import Supervisor
from serving.stack.triton_server import is_ready, load_model

_CANDIDATE = "triton-candidate"


@dataclass
class LocalCluster:
    """What runs. `front` is the transformer that requests go to; it changes when a promotion has replaced it."""

    folder: Path
    supervisor: Supervisor
    stable_bundle: Bundle
    candidate_bundle: Bundle
    stable_triton: Triton
    front: Transformer
    exposures: str
    candidate_triton: Triton | None = None
    wire: SlowWire | None = None
    _placed: bool = field(default=False)

    def candidate(self) -> CandidateState:
        """What runs of the candidate."""
        if self.candidate_triton is None or self.wire is None:
            return CandidateState(Readiness.ABSENT)
        host = f"{HOST}:{self.wire.port}"
        if not is_ready(self.candidate_triton.http_port):
            return CandidateState(Readiness.STARTING, host, "its Triton does not answer")
        return CandidateState(Readiness.READY, host)

    def deploy(self, bundle: VerifiedBundle) -> None:
        """Start the candidate's Triton, and the wire that it is reached over, once."""
        if self.candidate_triton is not None:
            return
        started = triton(self.folder, _CANDIDATE, self.candidate_bundle)
        try:
            self.supervisor.start(started.service)
        except NotReadyError as cause:
            raise RetryError(str(cause)) from cause
        self.wire = SlowWire(started.grpc_port).__enter__()
        self.candidate_triton = started

    def warm(self) -> None:
        """Inferences of several sizes, zeros in the contract's shapes."""
        assert self.candidate_triton is not None, "it is warmed when it is ready"
        url = f"http://{HOST}:{self.candidate_triton.http_port}/v2/models/{MODEL}"
        headers = {RESTRICTION_HEADER: self.candidate_triton.key}
        with httpx.Client(headers=headers, trust_env=False) as client:
            warm_at(client, url, _CANDIDATE, self.candidate_bundle.id)

    def remove(self) -> None:
        """Stop what there is of the candidate."""
        if self.wire is not None:
            self.wire.__exit__(None, None, None)
        self.supervisor.end(_CANDIDATE)
        self.wire, self.candidate_triton = None, None

    def promote(self) -> bool:
        """Give stable's Triton the candidate's bundle, then put a transformer of that bundle in front."""
        if not self._placed:
            repository = self.stable_triton.repository
            place_model(repository, MODEL, self.candidate_bundle, platform="python", replace=True)
            load_model(self.stable_triton.http_port, MODEL, key=self.stable_triton.key)
            self._placed = True
            return False
        name = "transformer-promoted"
        if self.front.service.name != name:
            new = transformer(self.folder, name, self.candidate_bundle, self.stable_triton.grpc_port, self.exposures)
            old = self.front.service.name
            self.supervisor.start(new.service)
            self.front = new
            self.supervisor.end(old)
        return True

    def replaced(self) -> int:
        """Whether stable's Triton has the candidate's bundle: nobody else changes it here."""
        return int(self._placed)

    def promotion_hint(self) -> str:
        """Nothing is left to people here."""
        return f"sightline up, with the bundle {self.candidate_bundle.path}"

    def stable(self) -> str | None:
        """The bundle of what serves: it changes by a promotion alone."""
        return self.stable_bundle.id

    def rival(self) -> str | None:
        """There is one experiment here."""
        return None

    def kill_candidate(self) -> None:
        """What a failing node does."""
        os.kill(self.supervisor.pids()[_CANDIDATE], signal.SIGKILL)
