"""Look at an installation from outside: one caption, one ranking over every way in, one contract everywhere."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from serving.captioner.client import CaptionResult
from serving.check import captioning, digests
from serving.check.agreement import digests_agree, everything_known, scores_agree
from serving.check.findings import CheckFailedError, Finding, Patience, finding
from serving.check.over_grpc import GRPC, ask_grpc
from serving.check.over_http import V1, V2, ask_v1, ask_v2
from serving.check.question import Answer, Question

TIMEOUT = 10.0
"""Seconds that one call may take."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the installation listens; what is None is not looked at."""

    transformer_http: str
    transformer_grpc: str | None = None
    captioner: str | None = None
    picture: Path | None = None
    ranker_http: str | None = None
    bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """One pass over the ranking path."""

    findings: Sequence[Finding]
    answers: Sequence[Answer] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was seen."""

    findings: Sequence[Finding]
    question: Question
    answers: Sequence[Answer]
    caption: CaptionResult | None

    @property
    def good(self) -> bool:
        """Whether nothing failed."""
        return all(finding.state != "failed" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-able data."""
        return {
            "ok": self.good,
            "checks": [{key: value for key, value in f.as_dict().items() if key != "final"} for f in self.findings],
            "question": asdict(self.question),
            "answers": [asdict(answer) for answer in self.answers],
            "caption": asdict(self.caption) if self.caption is not None else None,
        }


def check(targets: Targets, question: Question, patience: Patience, *, known: bool = True) -> Report:
    """Look at everything; nothing is raised for what is wrong, the report says it.

    Args:
        known: items, their captions and the user must be in the store.
    """
    seen = captioning.Captioning(captioning.SKIPPED)
    if targets.captioner is not None and targets.picture is not None:
        seen = captioning.caption(targets.captioner, targets.picture, patience.seconds)
    ranked = patience.look(partial(_ranked, targets, question, known))
    return Report((seen.finding, *ranked.findings), question, ranked.answers, seen.caption)


def _ranked(targets: Targets, question: Question, known: bool) -> Ranked:
    answers: list[Answer] = []
    url, target = targets.transformer_http, targets.transformer_grpc
    asked = [
        finding(V1, partial(_ask, answers, partial(ask_v1, url, question, TIMEOUT))),
        finding(V2, partial(_ask, answers, partial(ask_v2, url, question, TIMEOUT))),
        finding(GRPC, partial(_ask, answers, partial(ask_grpc, target, question, TIMEOUT)))
        if target is not None
        else Finding(GRPC, "skipped", "no --transformer-grpc was given"),
    ]
    if not answers:
        return Ranked(asked)
    judged = [
        finding("scores", partial(scores_agree, question, answers)),
        finding("known", partial(everything_known, question, answers))
        if known
        else Finding("known", "skipped", "--any was given"),
        finding("contract", partial(_contract, targets, question, answers)),
    ]
    return Ranked((*asked, *judged), answers)


def _ask(answers: list[Answer], ask: Callable[[], Answer]) -> str:
    answer = ask()
    answers.append(answer)
    return f"{len(answer.scores)} items ranked"


def _contract(targets: Targets, question: Question, answers: Sequence[Answer]) -> str:
    """The digests of the answers, of Triton and of the bundle; a source that cannot be read fails the check."""
    found = {answer.way: answer.contract_digest for answer in answers}
    hidden = not any(found.values())
    if hidden:  # an experiment runs, and which arm answered is not told
        found.clear()
    if targets.ranker_http is not None:
        found["Triton"] = digests.of_triton(targets.ranker_http, question.model, TIMEOUT)
    if targets.bundle is not None:
        found["bundle"] = digests.of_bundle(targets.bundle)
    if "" in found.values():
        raise CheckFailedError(
            f"no contract digest from {', '.join(way for way, digest in found.items() if not digest)}"
        )
    if hidden:
        agreed = f"; {digests_agree(found)}" if found else ""
        return f"answers tell none, as an experiment runs and the transformer's setting tell_arm is off{agreed}"
    return digests_agree(found)
