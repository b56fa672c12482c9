"""Where plain writes are synchronous the page cache tells them its errors too: one at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from core_files import BLOCK, assert_idle, block, make, threads
from faults_table import ANSWER, FLUSH, HOLD, WRITE, Faults

from fuaio.aio import DurabilityError, File, open_file


@contextmanager
def synchronous(path: Path, engine: str) -> Iterator[File]:
    """Open *path* by a descriptor with O_DSYNC, which every engine's plain writes obey."""
    descriptor = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)
    try:
        with open_file(descriptor, "r+", engine=engine) as file:
            yield file
            assert_idle(file)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("fua", [False, True], ids=["plain", "fua"])
def test_a_second_write_is_not_submitted_before_the_first_is_answered(
    scratch: Path, engine: str, faults: Faults, fua: bool
) -> None:
    path = make(scratch / "file")
    with synchronous(path, engine) as file, threads() as start:
        faults.rule(WRITE, HOLD, nth=1)
        first = start(file.pwrite, block(1), 0, fua=fua)
        faults.wait_held()
        rest = [start(file.pwrite, block(n), n * BLOCK, fua=fua) for n in range(2, 9)]
        flushed = start(file.flush)
        assert len(faults.seen(WRITE)) == 1
        assert faults.seen(FLUSH) == []
        faults.release()
        assert [write.result() for write in (first, *rest)] == [BLOCK] * 8
        flushed.result()
    data = path.read_bytes()
    assert all(data[n * BLOCK : (n + 1) * BLOCK] == block(n) for n in range(2, 9))


def test_a_failed_plain_write_latches(scratch: Path, engine: str, faults: Faults) -> None:
    with synchronous(make(scratch / "file"), engine) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(1), 0)
        assert not isinstance(caught.value, DurabilityError)
        promises: list[Callable[[], object]] = [
            file.flush,
            lambda: file.pwrite(block(2), 0, fua=True),
        ]
        for promise in promises:
            with pytest.raises(DurabilityError) as refused:
                promise()
            assert refused.value.errno == errno.EIO
    assert faults.seen(FLUSH) == []


def test_flushes_are_not_kept_waiting_by_writes_without_end(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with synchronous(make(scratch / "file"), engine) as file, threads() as start:
        faults.rule(WRITE, HOLD, nth=1)
        first = start(file.pwrite, block(1), 0)
        faults.wait_held()
        flushed = start(file.flush)
        rest = [start(file.pwrite, block(n % 60), n % 60 * BLOCK) for n in range(200)]
        faults.release()
        flushed.result()
        assert [write.result() for write in (first, *rest)] == [BLOCK] * 201
    assert len(faults.seen(FLUSH)) == 1
