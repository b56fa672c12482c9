"""Engines that kernel or policy really refuse: the cause is named, and what is left is used."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from pathlib import Path

import pytest
from fixtures_root import Sysctl
from needs import need_engine
from real_refusals import Seen, run_child, seen_after

from fuaio.aio import EngineUnavailableError, available, laio_has_fua, open_file
from fuaio.probe import decode_report, gather

BLOCK = 4096
NOBODY = 65534
LIBRARY_OF = {"io_uring": "liburing", "linux_aio": "libaio"}
CALL_OF = {"io_uring": "io_uring_setup", "linux_aio": "io_setup"}


@pytest.fixture
def written_file(scratch: Path) -> Path:
    path = scratch / "written"
    with path.open("xb") as file:
        file.write(bytes(2 * BLOCK))
        file.flush()
        os.fsync(file.fileno())
    return path


def assert_wrote_durably(seen: Seen, path: Path) -> None:
    """Both durable writes of the child are on the disk, and went by an engine that it has."""
    assert path.read_bytes() == b"w" * (2 * BLOCK)
    for written in (seen.direct, seen.buffered):
        assert written.engine not in seen.refused
        assert written.can_fua in ("native", "emulated")


def assert_named(seen: Seen, engine: str, cause: str, code: int, words: str) -> None:
    """*engine* is refused for *cause*, and all who tell of it say the same."""
    assert engine not in seen.works
    refused = seen.refused[engine]
    assert (refused.cause, refused.errno) == (cause, code)
    # A depth is part of the sentence, and available() asks with the least.
    for sentence in (refused.message, seen.why_not[engine]):
        assert f"{CALL_OF[engine]}: {errno.errorcode[code]}: " in sentence
        assert words in sentence
    fact = seen.fact("kernel", engine)
    assert (fact.state, fact.reason, fact.detail) == ("no", cause, seen.why_not[engine])
    assert seen.fact("kernel", f"{engine}_errno").value == code


@pytest.mark.combination
@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
def test_a_ring_refused_by_seccomp_is_refused_by_policy(written_file: Path, code: str) -> None:
    need_engine("io_uring")
    seen = seen_after(written_file, f"refuse:io_uring_setup:{code}")
    assert_named(seen, "io_uring", "policy", getattr(errno, code), "a seccomp filter is active")
    assert set(seen.refused) == {"io_uring"} | set(available().why_not)
    assert seen.fact("policy", "seccomp").value == "filter"
    assert_wrote_durably(seen, written_file)


@pytest.mark.combination
@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
def test_a_context_refused_by_seccomp_is_refused_by_policy(written_file: Path, code: str) -> None:
    need_engine("linux_aio")
    seen = seen_after(written_file, f"refuse:io_setup:{code}")
    assert_named(seen, "linux_aio", "policy", getattr(errno, code), "a seccomp filter is active")
    assert set(seen.refused) == {"linux_aio"} | set(available().why_not)
    assert_wrote_durably(seen, written_file)


@pytest.mark.combination
def test_without_rings_a_direct_file_is_written_by_linux_aio(written_file: Path) -> None:
    need_engine("linux_aio")
    seen = seen_after(written_file, "refuse:io_uring_setup:EPERM")
    assert seen.direct.engine == ("linux_aio" if laio_has_fua() else "threads")
    assert seen.buffered.engine == "threads"
    assert_wrote_durably(seen, written_file)


@pytest.mark.combination
@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
def test_where_rings_and_contexts_are_refused_threads_are_left(
    written_file: Path, code: str
) -> None:
    seen = seen_after(written_file, f"refuse:io_uring_setup,io_setup:{code}")
    assert seen.works == ("threads",)
    assert set(seen.refused) == {"io_uring", "linux_aio"}
    assert seen.direct.engine == seen.buffered.engine == "threads"
    assert_wrote_durably(seen, written_file)


@pytest.mark.parametrize(
    ("engine", "call"),
    [
        ("io_uring", "io_uring_enter"),
        ("linux_aio", "io_submit"),
        ("linux_aio", "io_getevents"),
    ],
)
def test_an_engine_whose_calls_are_refused_after_its_set_up_is_not_available(
    written_file: Path, engine: str, call: str
) -> None:
    need_engine(engine)
    seen = seen_after(written_file, f"refuse:{call}:EPERM")
    assert engine not in seen.works
    refused = seen.refused[engine]
    assert (refused.cause, refused.errno) == ("policy", errno.EPERM)
    assert call in refused.message
    assert seen.fact("kernel", engine).reason == "policy"
    assert_wrote_durably(seen, written_file)


def test_a_question_that_cannot_be_asked_is_not_answered_no(written_file: Path) -> None:
    seen = seen_after(written_file, "refuse:memfd_create:ENOSYS")
    for engine in seen.works:
        for fact in ("takes_dsync", "refuses_unknown"):
            assert seen.fact("kernel", f"{engine}_{fact}").state == "unknown"
    assert_wrote_durably(seen, written_file)


def test_the_command_reports_a_refusal_as_the_package_does(written_file: Path) -> None:
    need_engine("io_uring")
    step = "refuse:io_uring_setup:ENOSYS"
    program = "import sys; from fuaio.cli._entry import main; sys.exit(main())"
    arguments = ["report", "--format", "json", "--section", "kernel"]
    printed = run_child("exec", step, "--", sys.executable, "-c", program, *arguments)
    fact = decode_report(printed).facts()["kernel", "io_uring"]
    assert (fact.state, fact.reason) == ("no", "policy")
    assert fact.detail == seen_after(written_file, step).why_not["io_uring"]


@pytest.mark.combination
@pytest.mark.parametrize("engine", LIBRARY_OF)
def test_an_engine_that_is_not_built_in_is_refused_without_asking_the_kernel(
    written_file: Path, engine: str
) -> None:
    library = LIBRARY_OF[engine]
    facts = gather(["build", "kernel"]).facts()
    if facts["build", library].state == "yes":
        pytest.skip(f"{library} is built in")
    with pytest.raises(EngineUnavailableError) as refused:
        open_file(written_file, "r+", engine=engine)
    assert (refused.value.cause, refused.value.errno) == ("not-built", 0)
    assert f"-D{library}=enabled" in str(refused.value)
    fact = facts["kernel", engine]
    assert (fact.state, fact.reason) == ("no", "not-built")
    assert fact.detail == available().why_not[engine]


@pytest.mark.root
def test_a_ring_refused_to_all_names_the_sysctl(written_file: Path, sysctl: Sysctl) -> None:
    need_engine("io_uring")
    with sysctl("kernel/io_uring_disabled", 2):
        seen = seen_after(written_file)
    assert_named(seen, "io_uring", "sysctl", errno.EPERM, "kernel.io_uring_disabled is 2")
    assert seen.fact("policy", "io_uring_disabled").value == 2
    assert_wrote_durably(seen, written_file)


@pytest.mark.root
def test_a_ring_refused_to_the_unprivileged_names_the_sysctl_and_the_group(
    written_file: Path, sysctl: Sysctl
) -> None:
    need_engine("io_uring")
    with sysctl("kernel/io_uring_disabled", 1):
        privileged = seen_after(written_file)
        seen = seen_after(written_file, f"become:{NOBODY}")
    assert "io_uring" in privileged.works
    words = "kernel.io_uring_disabled is 1 (io_uring_group "
    assert_named(seen, "io_uring", "sysctl", errno.EPERM, words)
    assert_wrote_durably(seen, written_file)


@pytest.mark.root
def test_a_member_of_the_group_has_rings_though_others_are_refused(
    written_file: Path, sysctl: Sysctl
) -> None:
    need_engine("io_uring")
    with sysctl("kernel/io_uring_disabled", 1), sysctl("kernel/io_uring_group", NOBODY):
        seen = seen_after(written_file, f"become:{NOBODY}")
    assert "io_uring" in seen.works
    assert "io_uring" not in seen.refused


@pytest.mark.root
def test_a_filter_is_not_taken_for_the_sysctl_that_allows_the_ring(
    written_file: Path, sysctl: Sysctl
) -> None:
    need_engine("io_uring")
    with sysctl("kernel/io_uring_disabled", 1):
        seen = seen_after(written_file, "refuse:io_uring_setup:EPERM")
    assert_named(seen, "io_uring", "policy", errno.EPERM, "a seccomp filter is active")


@pytest.mark.root
def test_a_user_without_lockable_memory_is_told_of_the_limit(written_file: Path) -> None:
    need_engine("io_uring")
    seen = seen_after(written_file, "memlock:0", f"become:{NOBODY}")
    assert_named(seen, "io_uring", "limit", errno.ENOMEM, "RLIMIT_MEMLOCK")
    assert seen.fact("policy", "memlock").value == 0
    assert_wrote_durably(seen, written_file)


@pytest.mark.root
def test_a_user_whose_rings_are_used_up_is_told_of_the_limit(written_file: Path) -> None:
    need_engine("io_uring")
    # A closed ring is charged to its user for a while: this one never closed any, and is in no
    # other run of the tests.
    stranger = 100_000 + secrets.randbelow(1 << 31)
    steps = ("ask", "memlock:1048576", f"become:{stranger}", "hold-rings")
    seen = seen_after(written_file, *steps)
    assert seen.held > 0
    assert_named(seen, "io_uring", "limit", errno.ENOMEM, "RLIMIT_MEMLOCK")
    assert_wrote_durably(seen, written_file)


@pytest.mark.root
def test_used_up_contexts_are_a_limit_and_no_missing_feature(
    written_file: Path, sysctl: Sysctl
) -> None:
    need_engine("linux_aio")
    with sysctl("fs/aio-max-nr", 2):
        seen = seen_after(written_file, "hold-contexts")
    assert_named(seen, "linux_aio", "limit", errno.EAGAIN, "what is left of fs.aio-max-nr (2 - ")
    assert seen.fact("policy", "aio_max_nr").value == 2
    assert_wrote_durably(seen, written_file)
    assert "linux_aio" in available().engines


@pytest.mark.root
def test_a_depth_that_exceeds_what_is_left_of_the_contexts_is_named(
    written_file: Path, sysctl: Sysctl
) -> None:
    need_engine("linux_aio")
    with sysctl("fs/aio-max-nr", 32):
        seen = seen_after(written_file, depth=32)  # and one for the flush
    refused = seen.refused["linux_aio"]
    assert (refused.cause, refused.errno) == ("limit", errno.EAGAIN)
    assert "depth 32 exceeds what is left of fs.aio-max-nr (32 - " in refused.message
    assert_wrote_durably(seen, written_file)
