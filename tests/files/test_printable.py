"""Foreign text is shown and never obeyed: not by a terminal, nor by whoever reads a log line by line."""

import json
import logging
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from models.printable import PrintableFormatter, printable, printable_json

HOSTILE = "a\x1b[2J\r\nb\x9bc\u202ed\u2028e\ud800f\x7fg"


def obeyed(text):
    """The characters of `text` that move a cursor, end a line or turn the direction around, line feeds apart."""
    turning = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    return [
        each
        for each in text
        if each != "\n"
        and (unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(each) in turning)
    ]


def test_each_character_that_would_be_obeyed_is_an_escape():
    assert printable(HOSTILE) == r"a\x1b[2J\x0d\x0ab\x9bc\u202ed\u2028e\ud800f\x7fg"
    assert printable("a\n\tb\r", lines=True) == "a\n\tb\\x0d"
    assert printable("\U000e0041") == r"\U000e0041"


def test_what_people_write_stays():
    for text in ("Amélie", "七人の侍", "👩‍👩‍👧 family", "می‌خواهم", "שלום", "back\\slash", "-=+@"):
        assert printable(text) == text
        assert printable_json(text) == text


@given(st.text(alphabet=st.characters()))
def test_no_text_keeps_one(text):
    assert obeyed(printable(text)) == []
    assert "\n" not in printable(text)
    assert printable(text, lines=True).count("\n") == text.count("\n")


@given(st.recursive(st.text(alphabet=st.characters(exclude_categories=("Cs",))), st.lists))
def test_json_says_the_same(document):
    text = printable_json(json.dumps(document, ensure_ascii=False))
    assert json.loads(text) == document
    assert obeyed(text) == []


def test_a_record_is_one_line_whatever_its_message_holds():
    form = PrintableFormatter("%(levelname)s %(name)s %(message)s")
    record = logging.LogRecord("app", logging.INFO, "", 0, "user %s", (f"{HOSTILE}\nERROR app forged",), None)
    assert form.format(record) == rf"INFO app user {printable(HOSTILE)}\x0aERROR app forged"


def test_a_traceback_keeps_its_lines_and_nothing_else():
    form = PrintableFormatter("%(message)s")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = logging.LogRecord("app", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    text = form.format(record)
    assert len(text.splitlines()) > 3
    assert obeyed(text) == []
