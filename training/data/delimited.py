"""CSV and TSV files as tables of text, and the types that their columns are taken to have."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WHOLE = r"^\s*[+-]?\d+\s*$"
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_CODE = r"^\s*[+-]?0\d"  # a leading zero is lost in a number: a code, such as a postcode
_BOOLEAN = r"^\s*(?i:true|false)\s*$"
NUMBER = re.compile(_NUMBER, re.ASCII)
CODE = re.compile(_CODE, re.ASCII)


class DelimitedError(Exception):
    """The bytes are no table; the message says which line and why."""


def read_delimited(data: bytes, delimiter: str) -> pa.Table:
    """The table, each column as text; an empty field that is not quoted is null.

    Raises:
        DelimitedError: no UTF-8, no header, or a line with another number of fields.
    """
    data = data.removeprefix(_BOM)
    _check_text(data)
    names = next(csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""), delimiter=delimiter), [])
    if not names:
        raise DelimitedError("it is empty; expected a line with the columns' names")
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data if data.endswith(b"\n") else data + b"\n"),
            # one block: a line is then never cut, and a fault names its line
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 2),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DelimitedError(str(error).splitlines()[0]) from error


def typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers or booleans where every value is one; else the text as it is. Digits with a leading zero are text."""
    values = column.drop_null()
    if not len(values):
        return column
    if _every(values, _NUMBER) and not _any(values, _CODE):
        trimmed = pc.utf8_trim_whitespace(column)
        if _every(values, _WHOLE):
            try:
                return trimmed.cast(pa.int64())
            except pa.ArrowInvalid:  # beyond 64 bits
                pass
        return trimmed.cast(pa.float64())
    if _every(values, _BOOLEAN):
        return pc.utf8_lower(pc.utf8_trim_whitespace(column)).cast(pa.bool_())
    return column


def _check_text(data: bytes) -> None:
    if data.startswith(_UTF16):
        raise DelimitedError("it is UTF-16; expected UTF-8: save it as UTF-8")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} in line {line} is no UTF-8"
        raise DelimitedError(
            f"{found}; expected UTF-8: save it as UTF-8 (it may be Latin-1 or Windows-1252)"
        ) from error


def _every(values: Any, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _any(values: Any, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())
