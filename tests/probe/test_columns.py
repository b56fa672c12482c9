"""The renderings of a scan: a column for each place, whatever its name and its answers hold."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from fuaio.probe import Fact, Report, decode_report
from fuaio.probe._columns import render_scan
from fuaio.probe._scan import Column, Scan

YES = Fact("io_pgetevents", "capability", "yes", "ok", value=True)
MISSING = Fact("io_pgetevents", "capability", "no", "symbol-missing", value=False)
BROKEN = Fact("liburing", "capability", "unknown", "header-unusable", detail="a.h:1: #error")
ALSO = Fact("luring_has_fua", "capability", "unknown", "header-unusable", detail="a.h:1: #error")
COMPILER = Fact("compiler", "observation", "yes", "ok", value="gcc 12")
NO_VERSION = Fact("libaio_version", "observation", "unknown", "header-missing")
HIDDEN = Fact("buildtype", "observation", "yes", "ok", value="debug")


def column(place: str, *facts: Fact) -> Column:
    """Return the column of a place that answered."""
    return Column(place, report=Report("1.0", "0.1.0", {"build": list(facts)}))


FOUND = Scan(
    "1.0",
    "0.1.0",
    [
        column("prefix:a b", YES, BROKEN, ALSO, COMPILER, NO_VERSION, HIDDEN),
        Column("cc:x", error="there is no x"),
        column("cc:y", MISSING, BROKEN, ALSO, COMPILER, NO_VERSION, HIDDEN),
    ],
)
nasty_texts = st.text(st.sampled_from("*/\\?|`\n\r\"'<x #"), max_size=12) | st.text(max_size=12)


def test_text_is_a_row_for_each_fact_that_can_be_split_at_blanks() -> None:
    assert render_scan(FOUND, "text").splitlines() == [
        "# fuaio 0.1.0, scan, schema 1.0",
        'FACT           "prefix:a b"            cc:x  cc:y',
        "io_pgetevents  yes                     error no:symbol-missing",
        "liburing       unknown:header-unusable error unknown:header-unusable",
        "luring_has_fua unknown:header-unusable error unknown:header-unusable",
        'compiler       "gcc 12"                error "gcc 12"',
        "libaio_version unknown:header-missing  error unknown:header-missing",
        '# "prefix:a b" liburing: a.h:1: #error',
        "# cc:x error: there is no x",
        "# cc:y liburing: a.h:1: #error",
    ]


def test_markdown_is_one_table_and_a_list_of_what_there_is_more_to_say() -> None:
    lines = render_scan(FOUND, "markdown").splitlines()
    assert lines[2:5] == [
        "| fact | prefix:a b | cc:x | cc:y |",
        "|---|---|---|---|",
        "| io_pgetevents | yes | error | no (symbol-missing) |",
    ]
    assert lines[-2] == "- cc:x, error: there is no x"


def test_json_is_all_of_it() -> None:
    document = json.loads(render_scan(FOUND, "json"))
    assert [list(place) for place in document["places"]] == [
        ["place", "report"],
        ["place", "error"],
        ["place", "report"],
    ]
    report = json.dumps(document["places"][0]["report"]).encode()
    assert decode_report(report) == FOUND.places[0].report


@given(nasty_texts, nasty_texts, nasty_texts)
def test_no_text_of_a_place_can_add_a_line_or_a_cell(place: str, detail: str, error: str) -> None:
    fact = Fact("x", "capability", "unknown", "ok", detail=detail or "-")
    found = Scan("1.0", "0", [column(place, fact), Column(place + "2", error=error)])
    text = render_scan(found, "text")
    assert len(text.splitlines()) == 5
    assert text.replace("\n", "").isprintable()
    markdown = render_scan(found, "markdown").splitlines()
    assert len(markdown) == 8
    cells = [re.findall(r"(?<!\\)(?:\\\\)*\|", line) for line in markdown[2:5]]
    assert {len(found) for found in cells} == {4}
