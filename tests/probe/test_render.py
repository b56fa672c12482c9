"""The renderings: each shows every fact, and no text of a fact can break out of its place."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuaio.probe import KNOWN, SECTIONS, Fact, Report, decode_report, gather, render

NASTY = "a*/b /* c */ d|e`f`\\ \n#define EVIL 1\r\x1b[2J\u2028<b>"
HEADER_UNUSABLE = Fact(
    "io_prep_pwritev2",
    "capability",
    "unknown",
    "header-unusable",
    source="libaio.h",
    detail="libaio.h:9: */ " + NASTY,
)
SYMBOL_MISSING = Fact("io_uring_prep_writev2", "capability", "no", "symbol-missing", value=False)
PRESENT = Fact("pwritev2", "capability", "yes", "ok", value=True, source="sys/uio.h")
COMPILER = Fact("compiler", "observation", "yes", "ok", value="gcc 12.2.0", source="meson")
EMPTY = Fact("require_fua", "observation", "yes", "ok", value="")
BUILD = Report(
    "1.0", "0.1.0", {"build": [HEADER_UNUSABLE, SYMBOL_MISSING, PRESENT, COMPILER, EMPTY]}
)
nasty_texts = st.text(st.sampled_from("*/\\?|`\n\r\"'<x "), max_size=12) | st.text(max_size=12)


def compiler() -> str:
    """Return the path of a C compiler, or skip."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip("no C compiler on PATH")


def preprocess(text: str, source: str) -> str:
    """Return what *source* comes to under the macros of *text*; a warning is an error."""
    command = [compiler(), "-E", "-P", "-Wall", "-Wextra", "-Wundef", "-Werror", "-xc", "-"]
    done = subprocess.run(command, input=text + source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_text_is_a_line_per_fact_under_a_title_and_a_head() -> None:
    report = gather()
    lines = render(report).splitlines()
    assert lines[0].startswith("# fuaio ")
    assert lines[1].split() == ["FACT", "STATE", "VALUE", "UNIT", "REASON", "SOURCE", "DETAIL"]
    assert [line.split()[0] for line in lines[2:]] == [".".join(key) for key in report.facts()]


def test_text_columns_can_be_split_at_spaces_up_to_the_detail() -> None:
    lines = render(BUILD).splitlines()
    assert lines[2].split(maxsplit=6) == [
        "build.io_prep_pwritev2",
        "unknown",
        "-",
        "-",
        "header-unusable",
        "libaio.h",
        "libaio.h:9: */ a*/b /* c */ d|e`f`\\ \\n#define EVIL 1\\r\\x1b[2J\\u2028<b>",
    ]
    assert re.split(r" +(?=[^ ])", lines[5], maxsplit=2)[2].startswith('"gcc 12.2.0" ')
    assert lines[6].split()[2] == '""'


def test_text_ends_with_what_the_target_comes_to(tmp_path: Path) -> None:
    report = gather(("target",), Path("/"), str(tmp_path))
    facts = report.facts()
    *_, last, overwrite, append = render(report).splitlines()
    assert last.startswith("target.summary ")
    for line, name in ((overwrite, "overwrite"), (append, "append")):
        fact = facts["target", name]
        assert line == f"# An {name} at {tmp_path} is {fact.value or 'unknown'}. {fact.detail}"


def test_text_says_nothing_of_appends_to_what_does_not_grow() -> None:
    facts = [
        Fact("path", "observation", "yes", "ok", "/dev/x"),
        Fact("overwrite", "observation", "unknown", "not-there", detail="why"),
        Fact("append", "observation", "unknown", "no-append"),
    ]
    text = render(Report("1.0", "0.1.0", {"target": facts}))
    assert text.endswith("\n# An overwrite at /dev/x is unknown. why\n")


@given(nasty_texts, nasty_texts, nasty_texts, nasty_texts)
def test_no_text_of_a_fact_can_add_a_line_or_a_control_character(
    value: str, unit: str, source: str, detail: str
) -> None:
    fact = Fact("x", "capability", "unknown", "ok", value, unit, source, detail)
    report = Report("1.0", "0.1.0", {"build": [fact]})
    for format_, count in (("text", 3), ("macros", 2), ("markdown", 7)):
        text = render(report, format_)
        assert len(text.splitlines()) == count
        assert text.replace("\n", "").isprintable()


def test_json_is_the_report_itself() -> None:
    assert decode_report(render(BUILD, "json").encode()) == BUILD
    assert json.loads(render(BUILD, "json"))["schema_version"] == "1.0"


def test_macros_are_0_1_or_not_there() -> None:
    text = render(BUILD, "macros", "DEMO_")
    source = """
#if defined DEMO_HAVE_IO_PREP_PWRITEV2 || !DEMO_IO_PREP_PWRITEV2_UNKNOWN
#error an unknown capability is neither there nor missing
#endif
#if DEMO_HAVE_IO_URING_PREP_WRITEV2 || !DEMO_HAVE_PWRITEV2 || defined DEMO_HAVE_COMPILER
#error
#endif
#ifdef EVIL
#error a comment was left
#endif
fine
"""
    assert preprocess(text, source) == "fine"


def test_an_unknown_capability_gives_its_reason_in_a_comment() -> None:
    lines = render(BUILD, "macros").splitlines()
    assert lines[1].startswith("#define IO_PREP_PWRITEV2_UNKNOWN 1 /* header-unusable: libaio.h:9:")
    assert lines[2] == "#define HAVE_IO_URING_PREP_WRITEV2 0 /* symbol-missing */"
    assert lines[3] == "#define HAVE_PWRITEV2 1"


def test_the_macros_of_this_machine_compile_without_a_warning() -> None:
    report = gather()
    text = render(report, "macros")
    assert preprocess(text, "fine") == "fine"
    capabilities = [known for known in KNOWN.values() if known.kind == "capability"]
    assert text.count("#define ") == len(capabilities)


@given(nasty_texts)
def test_a_comment_ends_where_its_line_ends(detail: str) -> None:
    fact = Fact("x", "capability", "no", "kernel", detail=detail)
    line = render(Report("1.0", "0", {"build": [fact]}), "macros").splitlines()[1]
    comment = line.removeprefix("#define HAVE_X 0 /*")
    assert comment.index("*/") == len(comment) - 2
    assert "/*" not in comment


@pytest.mark.parametrize("prefix", ["1X", "A B", "A-", "A\n", "É", "x;"])
def test_a_macro_prefix_that_is_no_c_identifier_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="is not a C identifier"):
        render(BUILD, "macros", prefix)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="'html' is not one of text, json, macros, markdown"):
        render(BUILD, "html")


@pytest.mark.parametrize("section", [*SECTIONS[:5]])
def test_markdown_rows_have_as_many_cells_as_the_head(section: str) -> None:
    report = gather([section], target="/")
    rows = [line for line in render(report, "markdown").splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(report.sections[section])
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


def test_markdown_text_cannot_open_a_cell_or_markup() -> None:
    row = render(BUILD, "markdown").splitlines()[6]
    assert len(re.findall(r"(?<!\\)\|", row)) == 8
    assert r"\<b\>" in row
    assert r"\`f\`" in row
    assert "io_prep_pwritev2" in row


def test_the_formats_are_renderings_of_the_same_facts(tmp_path: Path) -> None:
    names = {fact.name for fact in BUILD.sections["build"]}
    for format_ in ("text", "json", "markdown"):
        assert all(name in render(BUILD, format_) for name in names), format_
