"""Foreign text as it may be shown: ids, captions, names and messages can hold what a terminal or a log obeys.

Control characters (C0, DEL, C1: escape sequences, line breaks), line separators, marks that turn the direction of
writing around, invisible tags and lone surrogates are written as escapes; everything else stays, emoji and joiners too.
"""

from __future__ import annotations

import logging
import re

_BEYOND = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f"
_LINE = re.compile(f"[\x00-\x1f{_BEYOND}]")
_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND}]")
_JSON = re.compile(f"[{_BEYOND}]")


def printable(text: str, *, lines: bool = False) -> str:
    """`text` with what is not to be obeyed as `\\x1b`, `\\u202e` and the like; `lines` keeps line feeds and tabs."""
    return (_LINES if lines else _LINE).sub(_escaped, text)


def printable_json(text: str) -> str:
    """A JSON document that says the same and holds no such characters; JSON's own escapes take their place."""
    return _JSON.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _units(found[0])), text)


class PrintableFormatter(logging.Formatter):
    """Log records of one line each, whatever is in their messages; only tracebacks have more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The record's line."""
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        return printable(super().format(record), lines=True)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _units(character: str) -> list[int]:
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
