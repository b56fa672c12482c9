"""What the report says of the build is what the headers gave and what the core was compiled to."""

from __future__ import annotations

import os

import pytest

from fuaio.aio import available, laio_has_fua, luring_has_fua
from fuaio.probe import gather, parse_requirement

pytestmark = pytest.mark.combination

EXPECTED = dict(pair.split("=", 1) for pair in os.environ.get("FUAIO_EXPECT", "").split())


@pytest.mark.skipif(not EXPECTED, reason="FUAIO_EXPECT names no fact; the header matrix sets it")
def test_the_build_facts_are_those_of_the_headers_under_test() -> None:
    facts = gather(["build"]).facts()
    assert {name: facts["build", name].state for name in EXPECTED} == EXPECTED


@pytest.mark.skipif(not EXPECTED, reason="FUAIO_EXPECT names no fact; the header matrix sets it")
@pytest.mark.parametrize("name", EXPECTED)
def test_check_decides_as_the_headers_under_test_do(name: str) -> None:
    outcome = parse_requirement(name).decide(gather(["build"]).facts())
    assert outcome.decision == {"yes": "met", "no": "unmet"}.get(EXPECTED[name], "undecidable")


def test_the_core_answers_what_the_report_says() -> None:
    facts = gather(["build"]).facts()
    assert laio_has_fua() is (facts["build", "laio_has_fua"].state == "yes")
    assert luring_has_fua() is (facts["build", "luring_has_fua"].state == "yes")


@pytest.mark.parametrize(
    ("answer", "helper"),
    [("laio_has_fua", "io_prep_pwritev2"), ("luring_has_fua", "io_uring_prep_writev2")],
)
def test_has_fua_follows_the_helper_of_the_header(answer: str, helper: str) -> None:
    facts = gather(["build"]).facts()
    asked, followed = facts["build", answer], facts["build", helper]
    assert (asked.state, asked.reason, asked.detail) == (
        followed.state,
        followed.reason,
        followed.detail,
    )


@pytest.mark.parametrize(("engine", "library"), [("linux_aio", "libaio"), ("io_uring", "liburing")])
def test_an_engine_that_was_not_built_says_so_and_nothing_else_does(
    engine: str, library: str
) -> None:
    facts = gather(["build", "kernel"]).facts()
    is_built = facts["build", library].state == "yes"
    assert (facts["kernel", engine].reason == "not-built") is not is_built
    if not is_built:
        assert facts["kernel", engine].state == "no"
        assert facts["kernel", f"{engine}_errno"].state == "unknown"


def test_the_engines_of_the_report_are_those_that_files_can_be_opened_with() -> None:
    facts = gather(["kernel"]).facts()
    found = available()
    for engine in ("io_uring", "linux_aio", "threads"):
        assert (facts["kernel", engine].state == "yes") is (engine in found.engines)
