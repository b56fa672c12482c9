"""The caller's own table of symbols: read from TOML, refused where it could be more than names.

What stands in it is put into C and into a build file, so that nothing but C identifiers and plain
names of headers is let through.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# A table of 700 symbols; each is a run of the compiler.
MAX_TABLE_BYTES = 64 * 1024

_KEYS = ("header", "symbol", "control")
_SHAPE = 'each [[symbol]] has header = "NAME.h", symbol = "NAME" and control = "NAME"'
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_PART = r"[A-Za-z0-9_][A-Za-z0-9_+.-]*"
_HEADER = re.compile(rf"(?=.{{1,200}}\Z)(?:{_PART}/)*{_PART}\.h")

# What is no matter of a header: a check would answer for the language, or for itself. The words
# that C23 took over from headers' macros are not here: bool, static_assert.
_NO_SYMBOLS = """
asm auto break case char const continue default defined do double else enum extern float for goto
if inline int long main register restrict return short signed sizeof static struct switch typedef
typeof union unsigned use void volatile while _Alignas _Alignof _Atomic _BitInt _Bool _Complex
_Decimal128 _Decimal32 _Decimal64 _Generic _Imaginary _Noreturn _Pragma _Static_assert _Thread_local
__DATE__ __FILE__ __LINE__ __TIME__ __VA_ARGS__ __VA_OPT__ __func__ __has_embed __has_include
"""
# What a report says besides; its names are unique.
_OF_THE_REPORT = frozenset(
    ("buildtype", "c_std", "compiler", "host", "meson_version", "require_fua")
)


class TableError(ValueError):
    """A table cannot be used; the message is one line that names the entry."""


class Row(NamedTuple):
    """One question: has *header* the *symbol*? *control* is in every version of the header."""

    header: str
    symbol: str
    control: str


def read_table(data: bytes) -> tuple[Row, ...]:
    """Read the table from TOML.

    Raises:
        TableError: *data* is too large, not TOML, or holds anything but such rows.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise TableError(f"larger than {MAX_TABLE_BYTES} bytes (64 KiB); ask in several tables")
    try:
        document = tomllib.loads(data.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise TableError(f"byte {error.start}: not UTF-8") from None
    except RecursionError:
        raise TableError(f"nested too deep; {_SHAPE}") from None
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"not TOML: {error}") from None
    rows = tuple(_row(number, entry) for number, entry in enumerate(_entries(document), 1))
    _require_unique(rows)
    return rows


def meson_table(rows: Iterable[Row]) -> str:
    """Return *rows* as the table that the build probe asks (probe/symbols/table)."""
    rows = tuple(rows)
    asked = [f"  ['{_constant(row)}', '{row.header}', '{row.symbol}', '{row.control}', ''],"
             for row in rows]  # fmt: skip
    headers = [f"  '{header}': {{'name': '{header}', 'compile_only': true}},"
               for header in dict.fromkeys(row.header for row in rows)]  # fmt: skip
    return "\n".join(["symbols = [", *asked, "]", "libraries = {", *headers, "}", "paths = {}", ""])


def _entries(document: Mapping[str, object]) -> list[object]:
    unknown = sorted(set(document) - {"symbol"})
    if unknown:
        raise TableError(f"unknown key {unknown[0]!r}; {_SHAPE}, and nothing else is read")
    entries = document.get("symbol", [])
    if not isinstance(entries, list):
        raise TableError(
            "symbol is not a list of tables; write [[symbol]] above each, in two brackets"
        )
    if not entries:
        raise TableError(f"there is no [[symbol]] in it; {_SHAPE}")
    return entries


def _row(number: int, entry: object) -> Row:
    """Return what the entry asks, or refuse it by its number."""
    place = f"entry {number}"
    if not isinstance(entry, dict):
        raise TableError(f"{place}: not a table; {_SHAPE}")
    for key in _KEYS:
        if key not in entry:
            raise TableError(f"{place}: {key} is missing; {_SHAPE}")
        if not isinstance(entry[key], str):
            raise TableError(f"{place}: {key} is not a text; write it in quotes")
    unknown = sorted(set(entry) - set(_KEYS))
    if unknown:
        raise TableError(f"{place}: unknown key {unknown[0]!r}; {_SHAPE}, and nothing else")
    if _HEADER.fullmatch(entry["header"]) is None:
        raise TableError(
            f"{place}: header {entry['header'][:80]!r} is no plain name of a header: letters, "
            "digits, _ + - . and single slashes, relative, without .., ending in .h"
        )
    for key in ("symbol", "control"):
        _require_name(f"{place}: {key} {entry[key][:80]!r}", entry[key])
    row = Row(entry["header"], entry["symbol"], entry["control"])
    if row.symbol == row.control:
        raise TableError(
            f"{place}: symbol and control are both {row.symbol}, so that a header without it would "
            "pass for an unusable one; name a control that every version of the header has"
        )
    return row


def _require_name(what: str, name: str) -> None:
    if _IDENTIFIER.fullmatch(name) is None:
        raise TableError(
            f"{what} is no C identifier: letters, digits and _, at most 200, no digit first"
        )
    if name in _NO_SYMBOLS.split():
        raise TableError(f"{what} is a word of C or of the check itself, which no header brings")


def _constant(row: Row) -> str:
    return f"HAVE_{row.symbol.upper()}"


def _require_unique(rows: tuple[Row, ...]) -> None:
    """One name, one answer: in the report, in its macros, and about each header."""
    constants: dict[str, int] = {}
    controls: dict[str, tuple[str, int]] = {}
    for number, row in enumerate(rows, 1):
        if row.symbol in _OF_THE_REPORT:
            raise TableError(f"entry {number}: {row.symbol} is a name of the report's own")
        first = constants.setdefault(_constant(row), number)
        if first != number:
            raise TableError(
                f"entry {number}: {row.symbol} would be {_constant(row)}, as entry {first} is; "
                "ask for it in a table of its own"
            )
        control, first = controls.setdefault(row.header, (row.control, number))
        if control != row.control:
            raise TableError(
                f"entry {number}: the control of {row.header} is {row.control}, in entry {first} "
                f"it is {control}; a header has one"
            )
