"""The policy section, read from recorded trees and from this machine."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fuaio.probe import Fact, gather

Tree = Callable[[Mapping[str, str]], Path]

STATUS = "Name:\tpython\nSeccomp:\t2\nSeccomp_filters:\t3\nSpeculation_Store_Bypass:\tvulnerable\n"
LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max processes             31419                31419                processes \n"
    "Max locked memory         65536                unlimited            bytes     \n"
)
CONTAINER = {
    "/proc/sys/kernel/io_uring_disabled": "1\n",
    "/proc/sys/kernel/io_uring_group": "1000\n",
    "/proc/self/status": STATUS,
    "/proc/sys/fs/aio-nr": "64000\n",
    "/proc/sys/fs/aio-max-nr": "65536\n",
    "/proc/self/limits": LIMITS,
}


def policy(root: Path) -> dict[str, Fact]:
    """Return the facts of the policy section by name."""
    return {fact.name: fact for fact in gather(["policy"], root).sections["policy"]}


def test_a_container_tells_its_limits_and_filters(tree: Tree) -> None:
    facts = policy(tree(CONTAINER))
    assert {name: fact.value for name, fact in facts.items()} == {
        "io_uring_disabled": 1,
        "io_uring_group": 1000,
        "seccomp": "filter",
        "seccomp_filters": 3,
        "aio_nr": 64000,
        "aio_max_nr": 65536,
        "memlock": 65536,
    }
    assert {fact.state for fact in facts.values()} == {"yes"}
    assert facts["memlock"].unit == "bytes"
    assert "CAP_SYS_ADMIN" in facts["io_uring_disabled"].detail


def test_an_empty_tree_leaves_every_fact_unknown_with_a_reason(tree: Tree) -> None:
    facts = policy(tree({}))
    assert {(fact.state, fact.value, fact.reason) for fact in facts.values()} == {
        ("unknown", None, "not-there")
    }


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("io_uring_disabled", "/proc/sys/kernel/io_uring_disabled", "off"),
        ("aio_nr", "/proc/sys/fs/aio-nr", ""),
        ("seccomp", "/proc/self/status", "Seccomp:\t9\n"),
        ("seccomp_filters", "/proc/self/status", "Seccomp_filters:\tmany\n"),
        ("memlock", "/proc/self/limits", "Max locked memory         8 MiB\n"),
        ("memlock", "/proc/self/limits", "Max locked memory\n"),
    ],
)
def test_text_that_is_not_understood_is_malformed_and_not_guessed(
    tree: Tree, name: str, path: str, text: str
) -> None:
    fact = policy(tree({path: text}))[name]
    assert (fact.state, fact.value, fact.reason) == ("unknown", None, "malformed")


@pytest.mark.parametrize("name", ["seccomp", "seccomp_filters", "memlock"])
def test_a_missing_line_is_not_there(tree: Tree, name: str) -> None:
    facts = policy(tree({"/proc/self/status": "Name:\tx\n", "/proc/self/limits": "Limit\n"}))
    assert (facts[name].state, facts[name].reason) == ("unknown", "not-there")


def test_no_limit_is_the_word_unlimited(tree: Tree) -> None:
    limits = "Max locked memory         unlimited            unlimited            bytes     \n"
    fact = policy(tree({"/proc/self/limits": limits}))["memlock"]
    assert (fact.state, fact.value) == ("yes", "unlimited")


def test_a_file_that_cannot_be_read_is_another_answer_than_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/fs/aio-nr").mkdir(parents=True)
    fact = policy(tmp_path)["aio_nr"]
    assert (fact.state, fact.reason) == ("unknown", "not-readable")
    assert fact.detail == os.strerror(21)


def test_the_limit_told_is_that_of_this_process() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    expected = "unlimited" if soft == resource.RLIM_INFINITY else soft
    assert policy(Path("/"))["memlock"].value == expected
