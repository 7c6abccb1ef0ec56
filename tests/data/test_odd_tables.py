"""Files as teams have them: each is taken with the right values, or refused in a sentence that says what to do."""

import decimal
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.items.keys import MAX_ID_BYTES as STORED_ID_BYTES
from serving.transformer.request import Limits
from training.data import tables
from training.data.errors import DatasetError, Fault
from training.data.validate import MAX_ID_BYTES

ROWS = 4
Columns = dict[str, Any]
Made = dict[str, Columns]
IDS = ["1", "2"]


def good() -> Made:
    return {
        "interactions": {
            "user_id": ["1", "1", "2", "2"],
            "item_id": ["1", "2", "1", "2"],
            "label": [1, 0, 0, 1],
            "timestamp": [1_700_000_000, 1_700_000_001, 1_700_000_002, 1_700_000_003],
        },
        "items": {"item_id": IDS, "image": pa.array([None, None], pa.string()), "price": [1.5, 2.0]},
        "users": {"user_id": IDS, "age": [30, 40]},
    }


def write(folder: Path, made: Made, kind: str = ".parquet") -> Path:
    folder.mkdir()
    for name, columns in made.items():
        table = pa.table(columns)
        if kind == ".parquet":
            pq.write_table(table, folder / f"{name}.parquet")
            continue
        text = table.to_pandas().to_csv(index=False, sep="," if ".csv" in kind else "\t").encode()
        (folder / f"{name}{kind}").write_bytes(gzip.compress(text) if kind.endswith(".gz") else text)
    return folder


def fault_of(folder: Path) -> Fault:
    with pytest.raises(DatasetError) as caught:
        tables.read(folder)
    assert len(caught.value.faults) == 1, caught.value
    fault = caught.value.faults[0]
    assert fault.fix
    assert "\n" not in str(fault)
    return fault


def has_missing(values: Any) -> list[Any]:
    return [None if pd.isna(value) else value for value in values]


TAKEN: dict[str, tuple[str, str, Any, list[Any]]] = {
    # table, column, what the file has, what is read
    "large_string": ("users", "city", pa.array(["x", None], pa.large_string()), ["x", None]),
    "string_view": ("users", "city", pa.array(["x", None], pa.string_view()), ["x", None]),
    "string_view ids": ("users", "user_id", pa.array(IDS, pa.string_view()), IDS),
    "dictionary": ("users", "city", pa.array(["x", None]).dictionary_encode(), ["x", None]),
    "dictionary of large_string": (
        "users",
        "city",
        pa.array(["x", "x"], pa.large_string()).dictionary_encode(),
        ["x", "x"],
    ),
    "dictionary of numbers": ("users", "age", pa.array([30.5, None]).dictionary_encode(), [30.5, None]),
    "json": ("users", "city", pa.array(['{"a": 1}', None], pa.json_()), ['{"a": 1}', None]),
    "half floats": ("items", "price", pa.array([1.5, None], pa.float16()), [1.5, None]),
    "floats": ("items", "price", pa.array([1.5, None], pa.float32()), [1.5, None]),
    "decimals": ("items", "price", pa.array([decimal.Decimal("14.62"), None], pa.decimal128(9, 2)), [14.62, None]),
    "wide decimals": ("items", "price", pa.array([decimal.Decimal("14.62")] * 2, pa.decimal256(50, 2)), [14.62, 14.62]),
    "bytes of integers": ("users", "age", pa.array([255, None], pa.uint8()), [255, None]),
    "integers above 63 bits": ("users", "age", pa.array([2**64 - 2**11, 1], pa.uint64()), [2.0**64 - 2**11, 1.0]),
    "booleans": ("users", "member", pa.array([True, None]), [True, None]),
    "a text column of nulls": ("users", "city", pa.array([None, None], pa.string()), [None, None]),
    "a column of nulls": ("users", "city", pa.array([None, None]), [None, None]),
    "a number column of nulls": ("users", "age", pa.array([None, None], pa.float64()), [None, None]),
    "no image at all": ("items", "image", pa.array([None, None]), [None, None]),
    "text of digits": ("users", "postcode", ["10115", "80331"], ["10115", "80331"]),
    "text of digits and a letter": ("users", "size", ["38", "M"], ["38", "M"]),
    "postcodes with a placeholder": ("users", "postcode", ["01067", "-"], ["01067", "-"]),
    "odd but legal text": ("users", "city", ["São Paulo\n", "\"'\\,;\t🙂"], ["São Paulo\n", "\"'\\,;\t🙂"]),
    "ids as integers": ("users", "user_id", [1, 2], IDS),
    "ids as bytes of integers": ("items", "item_id", pa.array([1, 2], pa.int8()), IDS),
    "ids as whole floats": ("users", "user_id", [1.0, 2.0], IDS),
    "ids as decimals": (
        "users",
        "user_id",
        pa.array([decimal.Decimal(1), decimal.Decimal(2)], pa.decimal128(38, 0)),
        IDS,
    ),
    "ids as categories": ("users", "user_id", pa.array(IDS).dictionary_encode(), IDS),
    "labels as floats": ("interactions", "label", [1.0, 0.0, 0.0, 1.0], [1, 0, 0, 1]),
    "labels as half floats": ("interactions", "label", pa.array([1.0, 0.0, 0.0, 1.0], pa.float16()), [1, 0, 0, 1]),
    "labels as booleans": ("interactions", "label", [True, False, False, True], [1, 0, 0, 1]),
    "labels as bytes": ("interactions", "label", pa.array([1, 0, 0, 1], pa.uint8()), [1, 0, 0, 1]),
    "labels as decimals": ("interactions", "label", pa.array([decimal.Decimal(n) for n in (1, 0, 0, 1)]), [1, 0, 0, 1]),
    "moments with a zone": (
        "interactions",
        "timestamp",
        pa.array([1_700_000_000_999, 2_000, 3_000, 4_000], pa.timestamp("ms", "Europe/Berlin")),
        [1_700_000_000, 2, 3, 4],
    ),
    "moments as whole floats": ("interactions", "timestamp", [1.0, 2.0, 3.0, 4.0], [1, 2, 3, 4]),
    "moments as unsigned": ("interactions", "timestamp", pa.array([1, 2, 3, 4], pa.uint32()), [1, 2, 3, 4]),
}


@pytest.mark.parametrize(("table", "column", "given", "expected"), TAKEN.values(), ids=TAKEN.keys())
def test_it_is_taken(tmp_path: Path, table: str, column: str, given: Any, expected: list[Any]) -> None:
    made = good()
    made[table][column] = given
    dataset = tables.read(write(tmp_path / "d", made))
    assert has_missing(getattr(dataset, table)[column]) == expected


REFUSED: dict[str, tuple[str, str, Any, str, str, str]] = {
    # table, column, what the file has; in the sentence: the value with its row, what was expected, what to do
    "a dash among prices": (
        "items",
        "price",
        ["14.62", "-"],
        "(row 1): found '-'",
        "as 1 other values",
        "null where one",
    ),
    "n/a among counts": (
        "items",
        "stock",
        ["7", "n/a"],
        "(row 1): found 'n/a'",
        "as 1 other values",
        "codes with a letter",
    ),
    "an empty text among prices": ("items", "price", ["14.62", ""], "(row 1): found ''", "a number", "null where one"),
    "nan among prices": ("items", "price", ["14.62", "nan"], "(row 1): found 'nan'", "a number", "null where one"),
    "numbers as text": ("items", "price", ["14.62", "7"], "(row 0): found '14.62'", "a number", "Write numbers"),
    "decimal commas": (
        "items",
        "price",
        ["14,62", "7,00"],
        "(row 0, 1; 2 in all): found '14,62'",
        "a number",
        "decimal point",
    ),
    "currencies": ("items", "price", ["€ 14.62", "1,234.50 EUR"], "found '€ 14.62'", "a number", "decimal point"),
    "percentages": ("items", "price", ["12%", "7"], "(row 0): found '12%'", "as 1 other values", "Write numbers"),
    "infinity": ("items", "price", [1.0, float("inf")], "(row 1): found inf", "a finite number", "null"),
    "lists": ("items", "tags", [["a", "b"], ["c"]], "(row 0): found type list<", "such as ['a', 'b']", "join several"),
    "empty lists": (
        "items",
        "tags",
        pa.array([[], None], pa.list_(pa.string())),
        "(row 0): found type list<",
        "[]",
        "join",
    ),
    "structs": ("items", "size", [{"w": 1}, {"w": 2}], "such as {'w': 1}", "a string, number", "one value per row"),
    "bytes": ("items", "vector", [b"ab", b"c"], "found type binary, such as b'ab'", "a string, number", "or drop it"),
    "dates": (
        "users",
        "born",
        pa.array([0, None], pa.date32()),
        "found type date32",
        "a string, number",
        "such as years",
    ),
    "moments as a feature": (
        "users",
        "joined",
        pa.array([0, 1], pa.timestamp("s")),
        "type timestamp",
        "a number",
        "seconds",
    ),
    "durations": ("users", "stay", pa.array([5, 1], pa.duration("s")), "type duration[s]", "a number", "seconds"),
    "text that is no UTF-8": (
        "users",
        "city",
        pa.Array.from_buffers(
            pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], "i4").tobytes()), pa.py_buffer(b"a\xff")]
        ),
        "found bytes that are no UTF-8 in row 1",
        "UTF-8",
        "encoded as UTF-8",
    ),
    "labels of -1 and 1": (
        "interactions",
        "label",
        [1, -1, -1, 1],
        "(row 1, 2; 2 in all): found -1",
        "0 or 1",
        "0 in place of -1",
    ),
    "labels of three values": ("interactions", "label", [1, 0, -1, 1], "(row 2): found -1", "0 or 1", "Map the labels"),
    "labels as text": (
        "interactions",
        "label",
        ["0", "1", "0", "yes"],
        "(row 3): found type string, such as 'yes'",
        "0 or 1",
        "number 1",
    ),
    "labels as true and false in text": (
        "interactions",
        "label",
        ["true", "false"] * 2,
        "such as 'true'",
        "0 or 1",
        "number 1",
    ),
    "a label that is no number": (
        "interactions",
        "label",
        [1, 0, float("nan"), 1],
        "(row 2): found nan",
        "0 or 1",
        "Map",
    ),
    "labels of nothing": (
        "interactions",
        "label",
        pa.array([None] * 4),
        "type null, without any value",
        "0 or 1",
        "number 1",
    ),
    "moments without a zone": (
        "interactions",
        "timestamp",
        pa.array([1, 2, 3, 4], pa.timestamp("us")),
        "(row 0): found type timestamp[us], such as datetime.datetime(1970",
        "seconds since 1970",
        "pandas.to_datetime(column, utc=True)",
    ),
    "moments as text": (
        "interactions",
        "timestamp",
        ["2023-11-14"] * 4,
        "such as '2023-11-14'",
        "seconds since 1970",
        "pandas.to_datetime",
    ),
    "fractions of seconds": (
        "interactions",
        "timestamp",
        [1.0, 2.5, 3.0, 4.0],
        "(row 1): found 2.5",
        "whole seconds",
        "Round",
    ),
    "milliseconds": (
        "interactions",
        "timestamp",
        [1_700_000_000_000 + n for n in range(4)],
        "found 1700000000000",
        "seconds",
        "divide by 1,000",
    ),
    "ids with fractions": ("users", "user_id", [1.5, 2.0], "(row 0): found 1.5", "a whole number", "ids as text"),
    "ids that float rounds": (
        "users",
        "user_id",
        [2.0**60, 2.0],
        "(row 0): found 1.152921504606847e+18",
        "2^53",
        "ids as text",
    ),
    "ids as booleans": (
        "users",
        "user_id",
        [True, False],
        "found type bool, such as True",
        "a whole number",
        "ids as text",
    ),
    "ids as bytes": ("users", "user_id", [b"1", b"2"], "found type binary", "a whole number", "ids as text"),
    "ids as lists": ("users", "user_id", [["1"], ["2"]], "such as ['1']", "a whole number", "ids as text"),
    "long ids": ("users", "user_id", ["1", "2", "x" * 257], "(row 2): found 'xxx", "at most 256 bytes", "shorter ids"),
    "ids with a zero byte": (
        "users",
        "user_id",
        ["1", "2", "a\0b"],
        "(row 2): found 'a\\x00b'",
        "control characters",
        "Remove",
    ),
    "ids with a line break": (
        "users",
        "user_id",
        ["1", "2", "a\n"],
        "(row 2): found 'a\\n'",
        "control characters",
        "Remove",
    ),
    "ids that are empty": ("users", "user_id", ["1", "2", ""], "(row 2): found ''", "not empty", "Fill it"),
    "ids with .0": ("users", "user_id", ["1.0", "2.0"], "found '1'", "an id of users", "users.user_id has '1.0'"),
    "ids with zeros": ("items", "item_id", ["01", "02"], "found '1'", "an id of items", "items.item_id has '01'"),
    "ids with blanks": ("items", "item_id", ["1 ", " 2"], "found '1'", "an id of items", "items.item_id has '1 '"),
    "an item twice": ("items", "item_id", ["1", "2", "2"], "(row 2): found '2'", "each id once", "Keep one row"),
    "pictures as bytes": (
        "items",
        "image",
        [b"\x89PNG", None],
        "found type binary",
        "a path",
        "Write the pictures as files",
    ),
}


@pytest.mark.parametrize(("table", "column", "given", "found", "expected", "fix"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_in_a_sentence(
    tmp_path: Path, table: str, column: str, given: Any, found: str, expected: str, fix: str
) -> None:
    made = good()
    made[table][column] = given
    for other in made[table]:  # as many rows in the other columns
        made[table][other] = (list(made[table][other]) * 2)[: len(given)] if other != column else given
    if table == "items" and column != "image":
        made["items"]["image"] = pa.array([None] * len(given))
    fault = fault_of(write(tmp_path / "d", made))
    sentence = str(fault)
    place = fault.table if found == "found '1'" else table
    assert sentence.startswith(f"{place}.{column}")
    for part in (found, expected, fix):
        assert part in sentence, sentence


def test_ids_that_a_request_cannot_carry_or_a_store_not_keep_are_refused() -> None:
    assert MAX_ID_BYTES == Limits().id_bytes <= STORED_ID_BYTES


def test_the_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", good())
    for name, columns in good().items():
        frame = pa.table(columns).to_pandas()
        frame.index = pd.Index([7, 9, 8, 5][: len(frame)])
        frame.to_parquet(folder / f"{name}.parquet")
    assert "__index_level_0__" in pq.read_schema(folder / "items.parquet").names
    dataset = tables.read(folder)
    assert [list(getattr(dataset, name).columns) for name in good()] == [list(columns) for columns in good().values()]
    for name, columns in good().items():
        (folder / f"{name}.parquet").unlink()
        pa.table(columns).to_pandas().to_csv(folder / f"{name}.csv")  # a first column without a name
    assert tables.read(folder).digest == dataset.digest
    for name in good():
        frame = pd.read_csv(folder / f"{name}.csv")
        frame.to_csv(folder / f"{name}.csv", index=False)
    assert "Unnamed: 0" in frame.columns
    assert tables.read(folder).digest == dataset.digest


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".csv.gz", ".tsv.gz"])
def test_delimited_tables_read_as_parquet_does(tmp_path: Path, kind: str) -> None:
    made = good()
    made["users"] |= {
        "city": ['a, b\t\n"c"', "ü"],
        "postcode": ["01067", "80331"],
        "member": [True, False],
        "height": [1.5, None],
    }
    parquet, delimited = write(tmp_path / "p", made), write(tmp_path / "d", made, kind)
    assert tables.read(delimited).digest == tables.read(parquet).digest


USERS = b"user_id,age\n1,30\n2,40\n"
FILES: dict[str, tuple[str, bytes, Mapping[str, list[Any]] | str]] = {
    # file, its bytes; the columns of users, or the sentence
    "a byte order mark": ("users.csv", b"\xef\xbb\xbf" + USERS, {"age": [30, 40]}),
    "line ends of Windows": ("users.csv", USERS.replace(b"\n", b"\r\n"), {"age": [30, 40]}),
    "no line end at the end": ("users.csv", USERS.rstrip(), {"age": [30, 40]}),
    "blanks around numbers": ("users.csv", b"user_id,age\n1, 30\n2, 40.5\n", {"age": [30.0, 40.5]}),
    "true in capitals": ("users.csv", b"user_id,member\n1,TRUE\n2,False\n", {"member": [True, False]}),
    "whole numbers beyond 64 bits": ("users.csv", b"user_id,n\n1,1\n2,99999999999999999999\n", {"n": [1.0, 1e20]}),
    "an empty column": ("users.csv", b"user_id,age\n1,\n2,\n", {"age": [None, None]}),
    "Latin-1": (
        "users.csv",
        "user_id,city\n1,Köln\n2,x\n".encode("latin-1"),
        "users: found byte 0xf6 in line 2 is no UTF-8; expected UTF-8: save it as UTF-8",
    ),
    "UTF-16": ("users.csv", USERS.decode().encode("utf-16"), "users: found it is UTF-16; expected UTF-8"),
    "a long line": (
        "users.csv",
        b"user_id,age\n1,30\n2,40,50\n",
        "Row #3: Expected 2 columns, got 3: 2,40,50; expected a CSV file",
    ),
    "semicolons": (
        "users.csv",
        USERS.replace(b",", b";"),
        "expected a column user_id. The file's fields are parted by ';'",
    ),
    "commas in a TSV": ("users.tsv", USERS, "expected a column user_id. The file's fields are parted by ','"),
    "nothing": ("users.csv", b"", "users: found it is empty; expected a line with the columns' names"),
    "a header alone": ("users.csv", b"user_id,age\n", "users: found no rows; expected at least one row"),
    "a dash": ("users.csv", b"user_id,age\n1,30\n2,-\n", "users.age (row 1): found '-'; expected a number, as 1 other"),
    "a wrong name": ("users.csv", USERS.replace(b"user_id", b"userId"), "Rename 'userId' to user_id"),
    "a column twice": ("users.csv", b"user_id,age,age\n1,3,4\n2,3,4\n", "users.age: found 2 columns of that name"),
    "a broken gzip": ("users.csv.gz", gzip.compress(USERS)[:-9], "users: found Compressed file ended before"),
    "no gzip": ("users.csv.gz", USERS, "users: found Not a gzipped file"),
    "an Excel file": ("users.xlsx", b"PK", "no file that can be read, but users.xlsx; expected a Parquet file at"),
    "lines of JSON": ("users.jsonl", b"{}", "Convert it, for instance by pandas: frame.to_parquet('users.parquet')"),
}


@pytest.mark.parametrize(("file", "data", "expected"), FILES.values(), ids=FILES.keys())
def test_a_file_is_read_or_refused_in_a_sentence(
    tmp_path: Path, file: str, data: bytes, expected: Mapping[str, list[Any]] | str
) -> None:
    folder = write(tmp_path / "d", good())
    (folder / "users.parquet").unlink()
    (folder / file).write_bytes(data)
    if isinstance(expected, str):
        with pytest.raises(DatasetError) as caught:
            tables.read(folder)
        assert expected in str(caught.value)
        assert all(fault.table == "users" or fault.column == "user_id" for fault in caught.value.faults)
        return
    users = tables.read(folder).users
    assert users["user_id"].tolist() == IDS
    assert {name: has_missing(users[name]) for name in expected} == expected


def test_two_files_of_one_table_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", good())
    (folder / "users.csv").write_bytes(USERS)
    assert str(fault_of(folder)).startswith(
        "users: found users.parquet and users.csv; expected one file. Remove all but"
    )


def test_a_folder_of_parts_is_a_table(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", good())
    whole = tables.read(folder).digest
    table = pq.read_table(folder / "interactions.parquet")
    (folder / "interactions.parquet").unlink()
    (folder / "interactions.parquet").mkdir()
    pq.write_table(table.slice(0, 3), folder / "interactions.parquet" / "part-00000.snappy.parquet")
    pq.write_table(table.slice(3), folder / "interactions.parquet" / "part-00001.snappy.parquet")
    (folder / "interactions.parquet" / "_SUCCESS").touch()
    assert tables.read(folder).digest == whole
    for part in (folder / "interactions.parquet").glob("part-*"):
        part.unlink()
    assert "interactions: found a folder without a .parquet file" in str(fault_of(folder))


def test_the_remedies_for_moments_and_ids_work_as_printed(tmp_path: Path) -> None:
    made = good()
    column = pd.Series(pd.to_datetime(["2023-11-14 22:13:20"] * 4))
    made["interactions"]["timestamp"] = column
    fix = fault_of(write(tmp_path / "d", made)).fix
    made["interactions"]["timestamp"] = eval(
        fix.removeprefix("Write seconds: ").removesuffix(", if they are UTC"), {"pandas": pd, "column": column}
    )
    made["interactions"]["item_id"] = ["1", "2", "1", "2"]
    dataset = tables.read(write(tmp_path / "again", made))
    assert dataset.interactions["timestamp"].tolist() == [1_700_000_000] * 4
