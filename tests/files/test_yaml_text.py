"""YAML of people and programs within bounds."""

from datetime import date

import pytest

from models.yaml_text import MAX_CHARACTERS, YamlTextError, yaml_documents

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
MERGES = "b0: &b0 {k: v}\n" + "".join(f"b{n}: &b{n} {{<<: [*b{n - 1}, *b{n - 1}]}}\n" for n in range(1, 40))


def test_documents_are_plain_data_and_empty_ones_are_left_out():
    first, second = yaml_documents("a: [1, 2.5, yes, ~, text]\n---\n---\nb: 2026-11-30\n")
    assert first == {"a": [1, 2.5, True, None, "text"]}
    assert second == {"b": date(2026, 11, 30)}
    assert yaml_documents("") == []
    assert yaml_documents("x: &x {a: 1}\ny: *x\nz: {<<: *x, b: 2}") == [
        {"x": {"a": 1}, "y": {"a": 1}, "z": {"a": 1, "b": 2}}
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r"line \d: more than 50000 values once aliases are written out"),
        (MERGES, r"more than 50000 values"),
        ("a: &a [*a]", "line 1: it contains itself"),
        ("[" * 5000 + "]" * 5000, "nested more deeply"),
        ("x" * (MAX_CHARACTERS + 1), r"1048577 characters; at most"),
        ("a: 1\na: 2", "a is given twice"),
        ("a: 1\nb: {c: 1, c: 2}", "c is given twice"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 2026-13-45", "month must be in"),
        ("a: " + "9" * 5000, "integer string conversion"),
        ("? [a]\n: b", "unhashable"),
        ("a: 'open", "unexpected end of stream"),
        ("a: \x07", "special characters are not allowed"),
    ],
)
def test_what_cannot_be_read_or_would_grow_is_refused_in_one_line(text, said):
    with pytest.raises(YamlTextError, match=said) as refused:
        yaml_documents(text)
    assert "\n" not in str(refused.value)
