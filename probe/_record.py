"""The record: what a report is, and how one is read from bytes that anybody may have written.

A report of schema major 1 is read whatever its minor: unknown keys are skipped. Another major
means that the meaning of what is there has changed, so it is refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

SCHEMA_VERSION = "1.0"

# A report has some fifty facts. What is larger is no report, and is not read to its end.
MAX_BYTES = 16 * 1024 * 1024

# A report is six deep; an unknown key may be deeper.
_DEEP = 100

# The next bracket outside of strings, or the end. Nothing is looked at twice: a string that does
# not end reaches to the end.
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.?)*+"?)*+([\[\]{}]|\Z)', re.DOTALL)

# (?![\s\S]) is the end of the text in Python's and in ECMA's regular expressions alike;
# in Python, $ would let a final newline through.
_IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*(?![\s\S])"
_WORD = r"^[a-z][a-z0-9-]*(?![\s\S])"
_READABLE = r"^1\.[0-9]{1,6}(?![\s\S])"
_SCHEMA = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})")

Kind = Literal["capability", "observation"]
State = Literal["yes", "no", "unknown"]
Value = bool | int | str | None
Identifier = Annotated[str, msgspec.Meta(pattern=_IDENTIFIER)]
Word = Annotated[str, msgspec.Meta(pattern=_WORD)]


class ReportError(ValueError):
    """A report cannot be read; the message is one line that names the place."""


class Fact(msgspec.Struct, frozen=True):
    """One answer of the probe.

    Attributes:
        name: Unique within its section.
        kind: A capability decides in `diff`; an observation only tells.
        state: Of a capability, the answer; of an observation, yes where its value is known.
        value: What was seen; of a capability, the state as a boolean. None where it was not
            learnt, and the reason says why.
        unit: Of the value; empty where it has none.
        source: Where the answer comes from: a header, a file, a system call.
        reason: One word: ok, or why the answer is not yes.
        detail: Free text for people.
    """

    name: Identifier
    kind: Kind
    state: State
    reason: Word
    value: Value = None
    unit: str = ""
    source: str = ""
    detail: str = ""


class Report(msgspec.Struct, frozen=True):
    """Facts by section, with the version of fuaio that learnt them."""

    schema_version: Annotated[str, msgspec.Meta(pattern=_READABLE)]
    fuaio_version: str
    sections: dict[Identifier, list[Fact]]

    def facts(self) -> dict[tuple[str, str], Fact]:
        """Return every fact by its section and name."""
        return {
            (section, fact.name): fact for section, facts in self.sections.items() for fact in facts
        }


class _Envelope(msgspec.Struct):
    """A report whose sections are not looked at yet, so that an error can name its section."""

    schema_version: str
    fuaio_version: str
    sections: dict[Identifier, msgspec.Raw]


class _Version(msgspec.Struct):
    """All that is asked of a report before its schema is known to be ours."""

    schema_version: str


def schema_minor(version: str) -> int:
    """Return the minor number of a schema that we can read.

    Raises:
        ReportError: *version* is not of our major, or is no version.
    """
    numbers = _SCHEMA.fullmatch(version)
    if numbers is None:
        raise ReportError(f"schema_version: {version[:40]!r} is not MAJOR.MINOR")
    ours = SCHEMA_VERSION.partition(".")[0]
    if int(numbers[1]) != int(ours):
        raise ReportError(
            f"schema_version: {version} is not readable here, only {ours}.x is; "
            "use the fuaio that wrote it"
        )
    return int(numbers[2])


def decode_report(data: bytes) -> Report:
    """Read a report, or a build section alone, from JSON.

    Raises:
        ReportError: *data* is too large, not JSON, of another schema, or not a report.
    """
    if len(data) > MAX_BYTES:
        raise ReportError(f"larger than {MAX_BYTES} bytes (16 MiB), so it is no report")
    _require_utf8(data)
    _require_shallow(data)
    try:
        schema_minor(msgspec.json.decode(data, type=_Version).schema_version)
        envelope = msgspec.json.decode(data, type=_Envelope)
    except RecursionError:  # only if the caller itself was at its limit
        raise ReportError("the top: nested too deep") from None
    except msgspec.ValidationError as error:
        raise ReportError(_sentence("", error)) from None
    except msgspec.DecodeError as error:
        raise ReportError(_malformed(data, error)) from None
    sections = {name: _decode_section(name, raw) for name, raw in envelope.sections.items()}
    return Report(envelope.schema_version, envelope.fuaio_version, sections)


def encode_report(report: Report) -> bytes:
    """Return *report* as JSON for people and programs: indented, UTF-8, one final newline."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def json_schema() -> bytes:
    """Return the JSON Schema of a report, as shipped in report.schema.json."""
    document: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    document |= {"title": f"fuaio report {SCHEMA_VERSION}"} | msgspec.json.schema(Report)
    for definition in document["$defs"].values():  # Python 3.13 indents docstrings otherwise
        definition["description"] = definition["description"].partition("\n")[0]
    encoded = msgspec.json.encode(document, order="sorted")
    return msgspec.json.format(encoded, indent=2) + b"\n"


def _decode_section(name: str, raw: msgspec.Raw) -> list[Fact]:
    try:
        facts = msgspec.json.decode(raw, type=list[Fact])
    except msgspec.ValidationError as error:
        raise ReportError(_sentence(f"sections.{name}", error)) from None
    seen: set[str] = set()
    for index, fact in enumerate(facts):
        if fact.name in seen:
            raise ReportError(f"sections.{name}[{index}]: {fact.name} stands there twice")
        seen.add(fact.name)
    return facts


def _require_utf8(data: bytes) -> None:
    if not data.strip():
        raise ReportError("byte 0: empty, a JSON object is expected")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReportError(f"byte {error.start}: not UTF-8") from None


def _sentence(place: str, error: msgspec.ValidationError) -> str:
    """Turn msgspec's "what - at `$.where`" into "where: what"."""
    what, _, where = str(error).partition(" - at `")
    place += where.rpartition("$")[2].rstrip("`")
    for pattern, expected in ((_IDENTIFIER, "an identifier"), (_WORD, "a word in lower case")):
        if pattern in what.replace("\\\\", "\\"):
            what = f"expected {expected}"
    return f"{place.lstrip('.') or 'the top'}: {what}"


def _malformed(data: bytes, error: msgspec.DecodeError) -> str:
    """Name the byte; msgspec does so except where the text ends too early."""
    at = re.search(r"\(byte ([0-9]+)\)", str(error))
    if at is None:
        return f"byte {len(data)}: not JSON: the text ends too early"
    return f"byte {at[1]}: not JSON: " + str(error)[: at.start()].strip().removeprefix(
        "JSON is malformed: "
    )


def _require_shallow(data: bytes) -> None:
    """Name the byte at which *data* is far too deep; how deep a decoder goes depends on Python."""
    depth = 0
    for bracket in _BRACKET.finditer(data):
        if bracket[1] in (b"[", b"{"):
            depth += 1
        else:
            depth -= 1
        if depth > _DEEP:
            raise ReportError(f"byte {bracket.start(1)}: nested more than {_DEEP} deep")
