"""The process that answers one question: `python -m serving.rollout.collector.answer FOLDER evidence|quantiles`.

The question comes as JSON on standard input, the answer goes as JSON to standard output. Started by the collector.
Exit codes: 0 answered, 3 refused (standard output says why), else a fault.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import orjson

from serving.rollout.collector.columns import install
from serving.rollout.collector.events import FUTURE_SECONDS
from serving.rollout.collector.faults import REFUSED
from serving.rollout.collector.history import quantiles
from serving.rollout.collector.join import CutError, evidence
from serving.rollout.collector.schema import open_for_reading
from serving.rollout.evidence.codec import (
    CodecError,
    caps_to_json,
    evidence_to_json,
    quantiles_from_json,
    query_from_json,
)
from serving.rollout.experiment.evidence import EvidenceError


def main(argv: Sequence[str]) -> int:
    """Answer, and return the exit code."""
    folder, question = argv
    status, out = answer(Path(folder), question, sys.stdin.buffer.read())
    sys.stdout.buffer.write(out)
    return status


def answer(folder: Path, question: str, body: bytes) -> tuple[int, bytes]:
    """Exit code and JSON. Raises sqlite3.Error."""
    with closing(open_for_reading(folder)) as connection:
        install(connection)
        try:
            return 0, _QUESTIONS[question](connection, body)
        except CodecError as error:
            return REFUSED, _refusal(422, error.field, error.message)
        except CutError as error:
            return REFUSED, _refusal(409, "retention", str(error))
        except EvidenceError as error:
            return REFUSED, _refusal(409, question, str(error))


def _evidence(connection: sqlite3.Connection, body: bytes) -> bytes:
    query = query_from_json(body)
    ahead = query.as_of.timestamp() - time.time()
    if ahead > FUTURE_SECONDS:
        raise CodecError(
            "as_of", f"is {query.as_of.isoformat()}, {ahead:.0f} s from now; no window closes in the future"
        )
    return evidence_to_json(evidence(connection, query))


def _quantiles(connection: sqlite3.Connection, body: bytes) -> bytes:
    return caps_to_json(quantiles(connection, quantiles_from_json(body)))


_QUESTIONS: dict[str, Callable[[sqlite3.Connection, bytes], bytes]] = {"evidence": _evidence, "quantiles": _quantiles}


def _refusal(status: int, field: str, message: str) -> bytes:
    return orjson.dumps({"status": status, "field": field, "message": message})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
