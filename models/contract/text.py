"""Caption text before tokenization: `nfkc-lower`.

NFKC, lower case, NFKC again (lower-casing can undo it), every run of Unicode white space one space, none at the ends.
Lone surrogates, which no UTF-8 text can hold, become U+FFFD. Tables are those of Python's `unicodedata` (Unicode 14 in
Python 3.11): characters assigned later may change with the interpreter.
"""

from __future__ import annotations

import unicodedata


def normalize(text: str) -> str:
    """The normalised text; idempotent; any string is accepted."""
    if text.isascii():
        return " ".join(text.lower().split())
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(_without_lone_surrogates(text).split())


def _without_lone_surrogates(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
