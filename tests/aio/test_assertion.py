"""The assertion below the mask: a flag that cannot be passed on ends the process.

The mask in the queue keeps RWF_DSYNC from an engine that was built without its writev2 helper.
Should a flag get there all the same, dropping it would report a write durable that is not.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from core_files import DSYNC, make
from faults_table import FLUSH, WRITE, Faults
from needs import need_engine

from fuaio.aio import Fua, laio_has_fua, luring_has_fua, open_file
from fuaio.aio._core import lib
from fuaio.aio._engines import operations
from fuaio.probe._build import BUILD


class Helper(NamedTuple):
    """What an engine needs of its header to pass the flag on."""

    fact: str
    there: bool
    source: str
    needs: str


HELPERS = {
    "linux_aio": Helper(
        "io_prep_pwritev2",
        laio_has_fua(),
        "engine_linux_aio.c",
        "io_prep_pwritev2 (libaio 0.3.111)",
    ),
    "io_uring": Helper(
        "io_uring_prep_writev2",
        luring_has_fua(),
        "engine_io_uring.c",
        "io_uring_prep_writev2 (liburing 2.2)",
    ),
}

ASK = """
import sys
from fuaio.aio._core import lib
from fuaio.aio._engines import operations
print(lib.fuaio_engine_ask(operations(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.fixture(params=HELPERS)
def helped_engine(request: pytest.FixtureRequest) -> str:
    """The engines that need a helper, where they work."""
    name = str(request.param)
    need_engine(name)
    return name


def write_in_a_child(engine: str, flags: int) -> subprocess.CompletedProcess[str]:
    """Hand a write with *flags* to the engine itself, past the mask."""
    return subprocess.run(
        [sys.executable, "-c", ASK, engine, str(flags)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.combination
def test_a_flag_past_the_mask_is_passed_on_or_ends_the_process(helped_engine: str) -> None:
    helper = HELPERS[helped_engine]
    done = write_in_a_child(helped_engine, DSYNC)
    if helper.there:
        assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
        return
    assert done.returncode == -signal.SIGABRT
    assert done.stdout == ""
    place, _, complaint = done.stderr.splitlines()[0].partition(": write flags ")
    assert place.startswith(f"fuaio: {helper.source}:")
    assert complaint == (
        f"{DSYNC:#x} reached a build without {helper.needs}; "
        "dropping them would report a write durable that is not"
    )


@pytest.mark.combination
def test_a_write_without_flags_never_ends_the_process(engine: str) -> None:
    done = write_in_a_child(engine, 0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


@pytest.mark.combination
def test_an_unknown_flag_is_refused_by_the_kernel_where_it_gets_there(engine: str) -> None:
    if engine in HELPERS and not HELPERS[engine].there:
        pytest.skip(f"{engine} was built without its helper: no flag gets to the kernel")
    assert lib.fuaio_engine_ask(operations(engine), 1 << 30) < 0


@pytest.mark.combination
def test_the_mask_lets_the_flag_through_only_to_an_engine_that_has_the_helper(
    scratch: Path, helped_engine: str, faults: Faults
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=helped_engine) as file:
        assert file.pwrite(b"data", 0, fua=True) == 4
        assert file.pread(4, 0) == b"data"
        kind = file.can_fua
    flags = [(seen.kind, seen.flags) for seen in faults.seen() if seen.kind in (WRITE, FLUSH)]
    if HELPERS[helped_engine].there:
        assert (kind, flags) == (Fua.NATIVE, [(WRITE, DSYNC)])
    else:
        assert (kind, flags) == (Fua.EMULATED, [(WRITE, 0), (FLUSH, 1)])


@pytest.mark.combination
@pytest.mark.parametrize("name", HELPERS)
def test_has_fua_is_what_the_build_found(name: str) -> None:
    states = {fact["name"]: fact["state"] for fact in BUILD["sections"]["build"]}
    assert HELPERS[name].there == (states[HELPERS[name].fact] == "yes")
