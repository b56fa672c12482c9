"""The caller's own table: nothing but C identifiers and plain names of headers gets into C."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuaio.probe._table import MAX_TABLE_BYTES, Row, TableError, meson_table, read_table

GOOD = {"header": "sys/stat-1.x++.h", "symbol": "statx", "control": "_Stat2"}


def table(*entries: Mapping[str, object]) -> bytes:
    """Return *entries* as TOML, whose texts are those of JSON."""
    rows = ["\n".join(f"{key} = {json.dumps(entry[key])}" for key in entry) for entry in entries]
    return "".join(f"[[symbol]]\n{row}\n" for row in rows).encode()


def refusal(data: bytes) -> str:
    """Return the words with which *data* is refused."""
    with pytest.raises(TableError) as caught:
        read_table(data)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_a_row_is_read_as_it_stands() -> None:
    other = {"header": "a.h", "symbol": "bool", "control": "c"}
    assert read_table(table(GOOD, other)) == (Row(**GOOD), Row("a.h", "bool", "c"))


def test_the_mark_that_some_editors_begin_a_file_with_is_passed_over() -> None:
    assert read_table(b"\xef\xbb\xbf" + table(GOOD)) == (Row(**GOOD),)


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "is missing; each [[symbol]] has"), (3, "is not a text"), (["a.h"], "is not a text")],
)
def test_an_entry_without_a_key_or_with_another_type_is_refused(
    key: str, value: object, message: str
) -> None:
    entry = {name: text for name, text in GOOD.items() if name != key}
    changed = entry if value is None else {**entry, key: value}
    assert refusal(table(GOOD, changed)).startswith(f"entry 2: {key} {message}")


@pytest.mark.parametrize("key", ["symbol", "control"])
@pytest.mark.parametrize(
    "name",
    ["", "1a", "a b", "a-b", "a;", "a\n", "a'", "é", "a()", "struct x", "a@b@", "\\", "a" * 201],
)
def test_what_is_no_c_identifier_is_refused(key: str, name: str) -> None:
    assert refusal(table(GOOD | {key: name})).startswith(f"entry 1: {key} {name[:80]!r} is no C")


@pytest.mark.parametrize("key", ["symbol", "control"])
@pytest.mark.parametrize("name", ["int", "return", "defined", "main", "use", "__FILE__"])
def test_a_word_of_the_language_or_of_the_check_is_refused(key: str, name: str) -> None:
    assert "which no header brings" in refusal(table(GOOD | {key: name}))


@pytest.mark.parametrize(
    "header",
    ["", "x", "x.c", "/usr/x.h", "../x.h", "a/../x.h", "./x.h", "a//x.h", "a/.x.h", "x.h>", "x.h ",
     "a b.h", 'x".h', "x.h\n", "x\\.h", "é.h", "-x.h", "@x@.h", "a" * 200 + ".h", "a.h/"],
)  # fmt: skip
def test_what_is_no_plain_name_of_a_header_is_refused(header: str) -> None:
    message = refusal(table(GOOD | {"header": header}))
    assert message.startswith(f"entry 1: header {header[:80]!r} is no plain name of a header: ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "there is no [[symbol]] in it; each [[symbol]] has header ="),
        (b"symbol = []", "there is no [[symbol]] in it"),
        (b"symbol = 3", "symbol is not a list of tables; write [[symbol]]"),
        (b"[symbol]\nheader = 'a.h'", "symbol is not a list of tables; write [[symbol]]"),
        (b"symbol = [1]", "entry 1: not a table"),
        (b"[[symbols]]", "unknown key 'symbols'; each [[symbol]]"),
        (table(GOOD | {"since": "1"}), "entry 1: unknown key 'since'; each [[symbol]]"),
        (b"[[symbol]", "not TOML: "),
        (b"{}", "not TOML: "),
        (b"\xff", "byte 0: not UTF-8"),
        (b"a = " + b"[" * 50_000, "nested too deep"),
        (b"#" * (MAX_TABLE_BYTES + 1), "larger than 65536 bytes (64 KiB)"),
    ],
)
def test_what_is_no_table_of_symbols_is_refused(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (GOOD, "entry 2: statx would be HAVE_STATX, as entry 1 is"),
        (GOOD | {"header": "b.h"}, "entry 2: statx would be HAVE_STATX, as entry 1 is"),
        (GOOD | {"symbol": "STATX"}, "entry 2: STATX would be HAVE_STATX, as entry 1 is"),
        (GOOD | {"symbol": "b", "control": "c"}, "entry 2: the control of sys/stat-1.x++.h is c"),
        (GOOD | {"symbol": "_Stat2"}, "entry 2: symbol and control are both _Stat2"),
        (GOOD | {"symbol": "host"}, "entry 2: host is a name of the report's own"),
    ],
)
def test_what_could_have_two_answers_is_refused(other: Mapping[str, object], message: str) -> None:
    assert refusal(table(GOOD, other)).startswith(message)


@given(st.fixed_dictionaries(dict.fromkeys(GOOD, st.text(max_size=8))))
@example(GOOD)
@example(GOOD | {"header": "a.h', 'b'"})
def test_whatever_is_let_through_cannot_leave_its_place_in_the_build_file(
    entry: Mapping[str, object],
) -> None:
    try:
        rows = read_table(table(entry))
    except TableError:
        return
    name = r"'[A-Za-z0-9_+./-]+'"
    assert re.fullmatch(
        rf"symbols = \[\n  \[{name}, {name}, {name}, {name}, ''\],\n\]\n"
        rf"libraries = {{\n  {name}: {{'name': {name}, 'compile_only': true}},\n}}\npaths = {{}}\n",
        meson_table(rows),
    )
