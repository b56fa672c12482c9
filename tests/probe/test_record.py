"""The record: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuaio.probe import (
    MAX_BYTES,
    SCHEMA_VERSION,
    Fact,
    Report,
    ReportError,
    decode_report,
    encode_report,
    gather,
    json_schema,
)

FACT: dict[str, Any] = {"name": "x", "kind": "capability", "state": "yes", "reason": "ok"}
REPORTS = sorted((Path(__file__).parent / "reports").glob("*/*.json"))


def document(*facts: object, **changes: object) -> bytes:
    """Return a report with *facts* in its build section, as JSON."""
    whole: dict[str, object] = {
        "schema_version": "1.0",
        "fuaio_version": "0.1.0",
        "sections": {"build": list(facts)},
    }
    return json.dumps(whole | changes).encode()


def test_what_is_encoded_is_read_back_the_same() -> None:
    report = gather()
    assert decode_report(encode_report(report)) == report


def test_the_shipped_schema_is_that_of_the_types() -> None:
    shipped = files("fuaio.probe").joinpath("report.schema.json").read_bytes()
    assert json.loads(shipped) == json.loads(json_schema()), (
        "write it anew: python -c 'import sys, fuaio.probe; "
        "sys.stdout.buffer.write(fuaio.probe.json_schema())' > probe/report.schema.json"
    )


def test_the_schema_accepts_the_report_of_this_machine() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="only this test validates by schema")
    jsonschema.validate(json.loads(encode_report(gather())), json.loads(json_schema()))


@pytest.mark.parametrize(
    "broken", [FACT | {"state": "maybe"}, {"name": "x"}, FACT | {"value": 1.5}]
)
def test_the_schema_refuses_what_the_reader_refuses(broken: dict[str, object]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="only this test validates by schema")
    with pytest.raises(ReportError):
        decode_report(document(broken))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(document(broken)), json.loads(json_schema()))


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_reports_of_every_released_schema_stay_readable(path: Path) -> None:
    report = decode_report(path.read_bytes())
    assert report.schema_version == path.parent.name
    assert report.facts()["build", "laio_has_fua"].state in ("yes", "no")


def test_a_report_of_the_present_schema_is_kept() -> None:
    assert SCHEMA_VERSION in {path.parent.name for path in REPORTS}


def test_a_later_minor_version_is_read_and_its_unknown_keys_are_skipped() -> None:
    fact = FACT | {"since": {"deep": [1, 2]}}
    report = decode_report(document(fact, schema_version="1.7", host={"cpu": "x86"}))
    assert report.sections == {"build": [Fact("x", "capability", "yes", "ok")]}


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0"])
def test_another_major_version_is_refused_whatever_else_is_there(version: str) -> None:
    with pytest.raises(ReportError, match=rf"^schema_version: {version} is not readable here"):
        decode_report(json.dumps({"schema_version": version, "sections": 5}).encode())


@pytest.mark.parametrize("version", ["", "1", "1.", "1.x", "1.0.0", "1.0\n", "١.٠", "1" * 5000])
def test_a_schema_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(ReportError, match=r"^schema_version: .* is not MAJOR\.MINOR$"):
        decode_report(document(schema_version=version))


TRUNCATED = document(FACT)[:-9]
DEEP_WHOLE = b'{"deep": ' + b"[" * 100 + b"]" * 100 + b"}"
DEEP_ARRAYS = b'{"x": "\\"[[[", "deep": ' + b"[" * 100_000
OBJECT = b'{"a":'
DEEP_OBJECTS = (
    b'{"schema_version": "1.0", "fuaio_version": "", "sections": {"build": ' + OBJECT * 100_000
)
WRONG = {
    "an empty file": (b"", "byte 0: empty, a JSON object is expected"),
    "spaces only": (b" \n", "byte 0: empty, a JSON object is expected"),
    "text": (b"hello", "byte 0: not JSON: invalid character"),
    "a truncated report": (TRUNCATED, f"byte {len(TRUNCATED)}: not JSON: the text ends too early"),
    "bytes that are not UTF-8": (b'{"a": "\xff"}', "byte 7: not UTF-8"),
    "UTF-16": ("\ufeff{}".encode("utf-16-le"), "byte 0: not UTF-8"),
    "an array": (b"[]", "the top: Expected `object`, got `array`"),
    "no schema version": (b"{}", "the top: Object missing required field `schema_version`"),
    "sections in an array": (document(sections=[]), "sections: Expected `object`, got `array`"),
    "a section that is text": (
        document(sections={"build": "x"}),
        "sections.build: Expected `array`, got `str`",
    ),
    "a section with a strange name": (
        document(sections={"a\nb": []}),
        "sections: expected an identifier",
    ),
    "a fact without a state": (
        document(FACT, {"name": "y", "kind": "capability"}),
        "sections.build[1]: Object missing required field `state`",
    ),
    "an unknown state": (
        document(FACT | {"state": "maybe"}),
        "sections.build[0].state: Invalid enum value 'maybe'",
    ),
    "a fraction": (
        document(FACT | {"value": 1.5}),
        "sections.build[0].value: Expected `bool | int | str | null`, got `float`",
    ),
    "a name with a newline": (
        document(FACT | {"name": "x\n"}),
        "sections.build[0].name: expected an identifier",
    ),
    "a reason of two words": (
        document(FACT | {"reason": "not ok"}),
        "sections.build[0].reason: expected a word in lower case",
    ),
    "a fact that stands there twice": (
        document(FACT, FACT),
        "sections.build[1]: x stands there twice",
    ),
    "arrays nested in an unknown key": (
        DEEP_ARRAYS,
        f"byte {DEEP_ARRAYS.index(b': [') + 101}: nested more than 100 deep",
    ),
    "objects nested in a section": (
        DEEP_OBJECTS,
        f"byte {DEEP_OBJECTS.index(OBJECT) + 98 * len(OBJECT)}: nested more than 100 deep",
    ),
    "a whole document that is a little too deep": (
        DEEP_WHOLE,
        f"byte {DEEP_WHOLE.index(b'[') + 99}: nested more than 100 deep",
    ),
    "what is over 16 MiB": (
        b" " * (MAX_BYTES + 1),
        "larger than 16777216 bytes (16 MiB), so it is no report",
    ),
}


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_report_is_refused_in_one_line_that_names_the_place(
    data: bytes, message: str
) -> None:
    with pytest.raises(ReportError) as caught:
        decode_report(data)
    assert str(caught.value) == message


def test_a_second_document_after_the_report_is_refused() -> None:
    with pytest.raises(ReportError, match=r"^byte [0-9]+: not JSON: trailing characters$"):
        decode_report(document(FACT) * 2)


@pytest.mark.parametrize(("start", "piece"), [(b'"', b'\\"'), (b"", b'"'), (b"[", b"[]")])
def test_16_mib_of_one_thing_are_refused_in_seconds(start: bytes, piece: bytes) -> None:
    with pytest.raises(ReportError):
        decode_report((start + piece * MAX_BYTES)[:MAX_BYTES])


def test_a_report_of_exactly_16_mib_is_read() -> None:
    data = document(FACT)
    assert decode_report(data.ljust(MAX_BYTES)).sections["build"][0].name == "x"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
near_facts = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y", ""]) | json_values,
        "kind": st.sampled_from(["capability", "observation"]) | json_values,
        "state": st.sampled_from(["yes", "no", "unknown"]) | json_values,
        "reason": st.just("ok") | json_values,
        "value": json_values,
        "unit": st.text() | json_values,
        "source": st.text(),
        "detail": st.text(),
    },
)
near_sections = st.dictionaries(st.sampled_from(["build", "a b"]) | st.text(), st.lists(near_facts))
near_reports = st.fixed_dictionaries(
    {"schema_version": st.sampled_from(["1.0", "1.9", "2.0"]) | json_values},
    optional={"fuaio_version": st.text(), "sections": near_sections | json_values},
).map(lambda whole: json.dumps(whole).encode())
truncated_reports = st.tuples(near_reports, st.integers(0)).map(
    lambda pair: pair[0][: pair[1] % (len(pair[0]) + 1)]
)


@given(
    st.binary()
    | json_values.map(lambda v: json.dumps(v).encode())
    | near_reports
    | truncated_reports
)
def test_whatever_is_read_is_a_report_or_refused_in_one_printable_line(data: bytes) -> None:
    try:
        report = decode_report(data)
    except ReportError as error:
        refusal = str(error)
    else:
        assert decode_report(encode_report(report)) == report
        return
    assert "\n" not in refusal
    assert len(refusal) < 1000


texts = st.text(st.characters(exclude_categories=["Cs"]))
facts = st.builds(
    Fact,
    name=st.from_regex(r"\A[a-zA-Z_][a-zA-Z0-9_]*\Z"),
    kind=st.sampled_from(["capability", "observation"]),
    state=st.sampled_from(["yes", "no", "unknown"]),
    reason=st.from_regex(r"\A[a-z][a-z0-9-]*\Z"),
    value=st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts,
    unit=texts,
    source=texts,
    detail=texts,
)


@given(st.lists(facts, unique_by=lambda fact: fact.name))
def test_any_facts_survive_being_written_and_read(some: list[Fact]) -> None:
    report = Report("1.0", "0.1.0", {"build": some})
    assert decode_report(encode_report(report)) == report


def test_a_fact_cannot_be_changed() -> None:
    fact = msgspec.convert(FACT, Fact)
    with pytest.raises(AttributeError):
        fact.state = "no"  # type: ignore[misc]  # the refusal is what is tested
