"""Real refusals by kernel and policy: the report names the cause, and each cause apart."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_root import Sysctl

from fuaio.probe import ENGINES, Fact, decode_report, gather

IO_URING_SETUP = 425  # the number on every architecture that fuaio builds for
IO_SETUP = {"x86_64": 206, "aarch64": 0}

# Run in a child, since a filter and a lowered limit stay for the life of a process.
CHILD = """
import encodings.ascii, sys
import fuaio.aio, fuaio.probe
fuaio.probe.gather()  # all is loaded now: another user may not be able to read it
exec(sys.argv[1])
report = fuaio.probe.gather(["build", "kernel", "policy"])
sys.stdout.buffer.write(fuaio.probe.encode_report(report))
"""
UNDER_FILTER = """
import ctypes
program = bytes.fromhex({program!r})
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
no_new_privs, set_seccomp, mode_filter = 38, 22, 2
assert libc.prctl(no_new_privs, 1, 0, 0, 0) == 0
filter = Program(len(program) // 8, program)
assert libc.prctl(set_seccomp, mode_filter, ctypes.byref(filter), 0, 0) == 0
"""
AS_NOBODY_WITHOUT_LOCKED_MEMORY = """
import os, resource
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""


def refuse(number: int, code: int) -> str:
    """Return Python that lays a filter on its process: call *number* fails with *code*."""
    load_number, if_equal, return_ = 0x20, 0x15, 0x06
    allow, fail = 0x7FFF0000, 0x00050000 | code
    program = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (load_number, 0, 0, 0),
            (if_equal, 0, 1, number),
            (return_, 0, 0, fail),
            (return_, 0, 0, allow),
        )
    )
    return UNDER_FILTER.format(program=program.hex())


def facts_after(setup: str) -> dict[tuple[str, str], Fact]:
    """Return what a child that ran *setup* reports."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, setup], capture_output=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr.decode()
    return decode_report(done.stdout).facts()


def need_working(engine: str) -> None:
    """Skip unless *engine* works here without the refusal that is to be made."""
    fact = gather(["kernel"]).facts()["kernel", engine]
    if fact.state != "yes":
        pytest.skip(f"{engine} does not work here as it is: {fact.reason}")


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_a_ring_refused_by_seccomp_is_a_matter_of_policy(code: int) -> None:
    need_working("io_uring")
    facts = facts_after(refuse(IO_URING_SETUP, code))
    assert (facts["kernel", "io_uring"].state, facts["kernel", "io_uring"].reason) == (
        "no",
        "policy",
    )
    assert facts["kernel", "io_uring_errno"].value == code
    assert facts["kernel", "io_uring_takes_dsync"].reason == "policy"
    assert facts["policy", "seccomp"].value == "filter"
    assert facts["kernel", "threads"].state == "yes"


def test_an_aio_context_refused_by_seccomp_is_a_matter_of_policy() -> None:
    need_working("linux_aio")
    facts = facts_after(refuse(IO_SETUP[os.uname().machine], errno.EPERM))
    assert facts["kernel", "linux_aio"].reason == "policy"
    assert facts["kernel", "linux_aio_errno"].value == errno.EPERM


@pytest.mark.root
def test_a_ring_refused_by_the_sysctl_names_the_sysctl(sysctl: Sysctl) -> None:
    need_working("io_uring")
    with sysctl("kernel/io_uring_disabled", 2):
        facts = facts_after("")
    assert (facts["kernel", "io_uring"].state, facts["kernel", "io_uring"].reason) == (
        "no",
        "sysctl",
    )
    assert facts["kernel", "io_uring_errno"].value == errno.EPERM
    assert facts["policy", "io_uring_disabled"].value == 2
    assert "io_uring_disabled" in facts["kernel", "io_uring"].detail


@pytest.mark.root
def test_an_exhausted_aio_max_nr_is_a_limit_and_no_missing_feature(sysctl: Sysctl) -> None:
    need_working("linux_aio")
    with sysctl("fs/aio-max-nr", 0):
        facts = facts_after("")
    assert (facts["kernel", "linux_aio"].state, facts["kernel", "linux_aio"].reason) == (
        "no",
        "limit",
    )
    assert facts["kernel", "linux_aio_errno"].value == errno.EAGAIN
    assert facts["policy", "aio_max_nr"].value == 0
    assert "aio-max-nr" in facts["kernel", "linux_aio"].detail


@pytest.mark.root
def test_a_user_without_lockable_memory_is_told_of_the_limit() -> None:
    need_working("io_uring")
    facts = facts_after(AS_NOBODY_WITHOUT_LOCKED_MEMORY)
    assert (facts["kernel", "io_uring"].state, facts["kernel", "io_uring"].reason) == (
        "no",
        "limit",
    )
    assert facts["kernel", "io_uring_errno"].value == errno.ENOMEM
    assert facts["policy", "memlock"].value == 0


def test_asking_leaves_no_ring_context_or_descriptor_behind() -> None:
    gather()  # what is loaded once stays open
    before = sorted(os.listdir("/proc/self/fd"))
    reserved = contexts_of_this_process()
    for _ in range(3):
        gather(["kernel"])
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert contexts_of_this_process() == reserved


def contexts_of_this_process() -> int:
    """Return how many AIO contexts are mapped: the kernel names their rings [aio]."""
    return Path("/proc/self/maps").read_text().count("/[aio]")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_that_works_takes_dsync_and_refuses_an_unknown_flag(engine: str) -> None:
    facts = gather(["kernel"]).facts()
    if facts["kernel", engine].state != "yes":
        pytest.skip(f"{engine} does not work here: {facts['kernel', engine].reason}")
    taken = facts["kernel", f"{engine}_takes_dsync"]
    if taken.state == "unknown":
        assert taken.reason in ("symbol-missing", "header-unusable")
    else:
        assert (taken.state, facts["kernel", f"{engine}_refuses_unknown"].state) == ("yes", "yes")


def test_the_release_is_that_of_uname() -> None:
    assert gather(["kernel"]).facts()["kernel", "release"].value == os.uname().release
