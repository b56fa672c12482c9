"""Nothing is lost where a signal ends a step of Python: C closes what C has opened."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from core_files import make

from fuaio.aio import ClosedError, File, open_file
from fuaio.aio._core import lib
from fuaio.aio._engines import Refusal, new_queue


def rings_and_contexts() -> int:
    """How many rings this process has open, and how many contexts are mapped."""
    links = Path("/proc/self/fd")
    rings = 0
    for number in os.listdir(links):
        try:
            rings += "io_uring" in os.readlink(links / number)
        except FileNotFoundError:  # the listing's own
            continue
    return rings + Path("/proc/self/maps").read_text().count("[aio]")


def test_a_close_that_a_signal_ends_after_the_kernel_part_leaves_no_descriptor(
    scratch: Path, engine: str
) -> None:
    file = open_file(make(scratch / "file"), "r+", engine=engine)
    descriptor = file.fileno()
    assert lib.fuaio_queue_close(file._queue._queue, 100) == 0  # and then the signal came
    with pytest.raises(OSError) as gone:
        os.fstat(descriptor)
    assert gone.value.errno == errno.EBADF
    file.close()
    with pytest.raises(ClosedError):
        file.fileno()


def test_a_queue_that_never_became_a_file_takes_its_engine_with_it(engine: str) -> None:
    before = rings_and_contexts()
    holder = new_queue(engine, fd=-1, depth=4)
    assert not isinstance(holder, Refusal)
    assert rings_and_contexts() == before + (engine != "threads")
    del holder
    assert rings_and_contexts() == before


def test_a_file_that_was_never_whole_has_nothing_to_close() -> None:
    assert File.__new__(File).closed
