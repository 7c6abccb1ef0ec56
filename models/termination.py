"""How a Job of ours ends: its exit code, and the JSON that Kubernetes keeps as the container's termination message.

The exit codes are what a Job's `podFailurePolicy` looks at; the message is what `sightline job status` shows.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXIT_DONE = 0
EXIT_FAILED = 1  # bad input: it would fail again
EXIT_USAGE = 2  # argparse's own code for arguments that cannot be used
EXIT_AWAY = (
    69  # EX_UNAVAILABLE: a service that it needs is away; counts against backoffLimit, where 1 ends the Job at once
)
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: stopped by a signal with its progress saved; run it again

TERMINATION_VARIABLE = "SIGHTLINE_TERMINATION_LOG"
TERMINATION_FILE = Path("/dev/termination-log")
TERMINATION_BYTES = 4096  # Kubernetes cuts what is longer, which would leave half a JSON document
_SPARE = ("metrics", "bundles")  # left out in this order when a document is still too long with a short message


def write_termination(document: Mapping[str, Any], environ: Mapping[str, str]) -> Path | None:
    """Write `document` as JSON where Kubernetes reads it, return the file; None if this is no container.

    The file is $SIGHTLINE_TERMINATION_LOG, or /dev/termination-log where that exists. A file that cannot be written
    is said on stderr and is not an error: the job's result stands without it.
    """
    given = environ.get(TERMINATION_VARIABLE)
    if not given and not TERMINATION_FILE.exists():
        return None
    path = Path(given) if given else TERMINATION_FILE
    try:
        path.write_bytes(termination_bytes(document))
    except OSError as error:
        sys.stderr.write(f"termination message not written to {path}: {error}; set {TERMINATION_VARIABLE} to a file\n")
        return None
    return path


def termination_bytes(document: Mapping[str, Any]) -> bytes:
    """`document` as JSON of at most 4096 bytes: a long `message` is cut, then `metrics` and `bundles` are left out.

    Raises:
        ValueError: a value is no JSON (NaN, Infinity), or the rest of the document is too long by itself.
        TypeError: a value is of a type that JSON does not have.
    """
    kept = dict(document)
    for leave_out in (None, *_SPARE):
        if leave_out in kept:
            del kept[leave_out]
            kept["left_out"] = [*kept.get("left_out", []), leave_out]
        raw = _encoded(kept)
        if len(raw) > TERMINATION_BYTES:
            raw = _encoded(_with_short_message(kept))
        if len(raw) <= TERMINATION_BYTES:
            return raw
    raise ValueError(
        f"the termination message has {len(raw)} bytes without its {' and '.join(_SPARE)}; "
        f"expected at most {TERMINATION_BYTES}: write less into it"
    )


def _with_short_message(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the beginning of its message, as long as it fits: the beginning says what went wrong."""
    message = str(document.get("message", ""))
    while message:
        message = message[: len(message) * 9 // 10]
        short = {**document, "message": f"{message} …"}
        if len(_encoded(short)) <= TERMINATION_BYTES:
            return short
    return dict(document)


def _encoded(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="replace")
