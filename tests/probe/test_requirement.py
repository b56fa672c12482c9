"""Requirements: the grammar, and which fact decides what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuaio.probe import Fact, Report, RequirementError, gather, parse_requirement


def capability(name: str, state: str, reason: str) -> Fact:
    """Return a capability in one of the three states."""
    assert state in ("yes", "no", "unknown")
    return Fact(name, "capability", state, reason)  # type: ignore[arg-type]  # asserted above


REPORT = Report(
    "1.0",
    "0.1.0",
    {
        "build": [
            capability("laio_has_fua", "yes", "ok"),
            capability("luring_has_fua", "no", "symbol-missing"),
            capability("io_pgetevents", "unknown", "header-unusable"),
            capability("liburing", "no", "disabled"),
            capability("libaio", "yes", "ok"),
            capability("from_the_future", "yes", "ok"),
            Fact("libaio_version", "observation", "yes", "ok", ">=0.3.112"),
            Fact("liburing_version", "observation", "yes", "ok", "2.3"),
            Fact("meson_version", "observation", "unknown", "not-learnt"),
        ],
        "library": [Fact("liburing_version", "observation", "yes", "ok", ">=2.5")],
        "kernel": [
            capability("threads", "yes", "ok"),
            capability("linux_aio", "no", "limit"),
        ],
        "target": [
            capability("fua", "yes", "ok"),
            Fact("path", "observation", "yes", "ok", "/data"),
            Fact(
                *("overwrite", "observation", "yes", "ok", "emulated"), detail="the disk has no FUA"
            ),
        ],
    },
)


@pytest.mark.parametrize(
    ("text", "decision", "why"),
    [
        ("laio_has_fua", "met", "build.laio_has_fua = yes (ok)"),
        ("build.laio_has_fua", "met", "build.laio_has_fua = yes (ok)"),
        ("luring_has_fua", "unmet", "build.luring_has_fua = no (symbol-missing)"),
        ("io_pgetevents", "undecidable", "build.io_pgetevents = unknown (header-unusable)"),
        ("liburing_version", "met", "build.liburing_version = 2.3"),
        ("from_the_future", "met", "build.from_the_future = yes (ok)"),
        ("target.fua", "met", "target.fua = yes (ok)"),
        ("core", "undecidable", "library.core = unknown (not-asked): not in this report"),
        ("liburing>=2.2", "met", "build.liburing_version = 2.3"),
        ("liburing >= 2.2, < 3", "met", "build.liburing_version = 2.3"),
        ("build.liburing~=2.4", "unmet", "build.liburing_version = 2.3"),
        ("library.liburing>=2.4", "met", "library.liburing_version = >=2.5"),
        ("library.liburing>=2.6", "undecidable", "library.liburing_version = >=2.5"),
        ("liburing_version==2.3", "met", "build.liburing_version = 2.3"),
        ("libaio>=0.3.111", "met", "build.libaio_version = >=0.3.112"),
        ("libaio>=0.3.113", "undecidable", "build.libaio_version = >=0.3.112"),
        ("libaio<0.3.112", "unmet", "build.libaio_version = >=0.3.112"),
        ("meson>=1.7", "undecidable", "build.meson_version = unknown (not-learnt)"),
        (
            "library.libaio>=0.3.111",
            "undecidable",
            "library.libaio_version = unknown (not-asked): not in this report",
        ),
        ("engine:threads", "met", "kernel.threads = yes (ok)"),
        ("engine:linux_aio", "unmet", "kernel.linux_aio = no (limit)"),
        ("engine:io_uring", "unmet", "build.liburing = no (disabled)"),
        ("fua:/data=native,emulated", "met", "target.overwrite = emulated: the disk has no FUA"),
        (
            "fua:/data=native,not_needed",
            "unmet",
            "target.overwrite = emulated: the disk has no FUA",
        ),
        (
            "fua:/a=b/c=none",
            "undecidable",
            "target.path = /data: the report is not about /a=b/c",
        ),
    ],
)
def test_a_requirement_is_decided_by_the_fact_it_names(text: str, decision: str, why: str) -> None:
    assert parse_requirement(text).decide(REPORT.facts()) == (decision, why)


def test_an_engine_that_was_not_asked_for_is_undecidable_though_its_library_is_there() -> None:
    facts = {("build", "libaio"): capability("libaio", "yes", "ok")}
    outcome = parse_requirement("engine:linux_aio").decide(facts)
    assert outcome == (
        "undecidable",
        "kernel.linux_aio = unknown (not-asked): not in this report",
    )


def test_an_engine_that_could_not_be_asked_is_undecidable_with_the_reason() -> None:
    facts = {("kernel", "threads"): capability("threads", "unknown", "core-not-loaded")}
    outcome = parse_requirement("engine:threads").decide(facts)
    assert outcome == ("undecidable", "kernel.threads = unknown (core-not-loaded)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' begins with no name of a fact"),
        ("1x", "'1x' begins with no name of a fact"),
        (">=2", "'>=2' begins with no name of a fact"),
        ("laio_has_fau", "no fact is named 'laio_has_fau'; did you mean laio_has_fua?"),
        ("kernel.laio_has_fua", "no fact is named 'kernel.laio_has_fua'; `fuaio report` shows all"),
        ("nowhere.laio", "no fact is named 'nowhere.laio'; `fuaio report` shows all"),
        ("libfoo>=2", "no fact is named 'build.libfoo'; did you mean libaio?"),
        ("liburing>=", "'liburing>=': '>=' is no version specifier such as >=2.2,<3"),
        ("liburing 2.2", "'liburing 2.2': '2.2' is no version specifier such as >=2.2,<3"),
        ("liburing>=x", "'liburing>=x': '>=x' is no version specifier such as >=2.2,<3"),
        ("liburing,", "'liburing,': ',' names no version"),
        ("liburing>=2\x1b[2J", None),
        ("kernel.release>=6", "'kernel.release>=6': only build and library have versions"),
        ("compiler>=12", "build.compiler has no version"),
        ("laio_has_fua>=1", "build.laio_has_fua has no version"),
        ("engine:", "'engine:': the engines are io_uring, linux_aio, threads"),
        ("engine:iouring", "'engine:iouring': the engines are io_uring, linux_aio, threads"),
        ("fua:/x", None),
        ("fua:=native", None),
        ("fua:/x=", None),
        ("fua:/x=native,maybe", None),
        ("x" * 500, None),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_short_line(
    text: str, message: str | None
) -> None:
    with pytest.raises(RequirementError) as caught:
        parse_requirement(text).asks()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250
    if message is not None:
        assert str(caught.value) == message


names = st.sampled_from(["laio_has_fua", "liburing", "libaio", "build.", "library.", "threads"])
operators = st.sampled_from([">=", "==", "~=", "===", "=", ",", "2.2", "2.*", "1!"])
others = st.sampled_from(["engine:", "fua:", "/dev/x", "native", " ", "\n", "é"])
pieces = names | operators | others


@given(st.text(max_size=30) | st.lists(pieces, max_size=7).map("".join))
def test_any_text_is_decided_or_refused(text: str) -> None:
    try:
        requirement = parse_requirement(text)
        requirement.asks()
    except RequirementError as error:
        shown = str(error)
    else:
        decision, shown = requirement.decide(REPORT.facts())
        assert decision in ("met", "unmet", "undecidable")
    assert shown.isprintable()


def test_a_check_of_the_build_asks_for_no_other_section() -> None:
    for text in ("laio_has_fua", "liburing>=2.2", "libaio<1", "RWF_DSYNC"):
        assert {section for section, _ in parse_requirement(text).asks()} == {"build"}
    assert gather(["build"]).sections.keys() == {"build"}
