"""The build under test says of its headers what whoever made them knows: FUAIO_EXPECT."""

from __future__ import annotations

import os

import pytest

from fuaio.aio import available, laio_has_fua, luring_has_fua
from fuaio.probe._build import BUILD

pytestmark = pytest.mark.combination

HAS_FUA = {"laio_has_fua": laio_has_fua, "luring_has_fua": luring_has_fua}
ENGINE_OF = {"libaio": "linux_aio", "liburing": "io_uring"}


def states() -> dict[str, str]:
    """Give the state of each fact of the build."""
    return {fact["name"]: fact["state"] for fact in BUILD["sections"]["build"]}


def test_the_build_says_what_the_headers_are_known_to_have() -> None:
    expected = dict(pair.split("=") for pair in os.environ.get("FUAIO_EXPECT", "").split())
    if not expected:
        pytest.skip("FUAIO_EXPECT does not say what the headers have")
    found = states()
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("name", HAS_FUA)
def test_a_function_answers_what_the_build_says_of_it(name: str) -> None:
    assert HAS_FUA[name]() is (states()[name] == "yes")


@pytest.mark.parametrize("library", ENGINE_OF)
def test_an_engine_is_called_not_built_exactly_where_its_library_was_left_out(library: str) -> None:
    why = available().why_not.get(ENGINE_OF[library], "")
    assert ("built without" in why) is (states()[library] != "yes")
