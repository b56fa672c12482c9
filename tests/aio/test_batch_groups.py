"""Durable batches: a flush for each group, never one that covers too little, and the latch."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from core_files import (
    BLOCK,
    DSYNC,
    assert_idle,
    batch,
    block,
    emulating,
    has_blocks,
    make,
    opened,
    threads,
    wait_promised,
)
from faults_table import ANSWER, FAIL, FLUSH, HOLD, SUBMIT, WRITE, Faults, Seen

from fuaio.aio import BatchError, DurabilityError, File, Fua, open_file

Durable = Literal["fua", "flush", "auto"]

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
DURABLE = pytest.mark.parametrize("durable", ["fua", "flush", "auto"])


def groups(requests: list[Seen]) -> list[int]:
    """How many writes there are before each flush, and after the last."""
    sizes = [0]
    for request in requests:
        if request.kind == FLUSH:
            sizes.append(0)
        else:
            sizes[-1] += 1
    return sizes


# ---- how many flushes, and when ----


@pytest.mark.combination
@DIRECT
@pytest.mark.parametrize(
    ("count", "depth", "expected"),
    [(1, 1, [1]), (5, 1, [1] * 5), (12, 4, [4, 4, 4]), (10, 4, [4, 4, 2]), (8, 32, [8])],
)
def test_a_group_is_as_many_writes_as_the_depth_and_has_one_flush(
    scratch: Path,
    engine: str,
    faults: Faults,
    direct: bool,
    count: int,
    depth: int,
    expected: list[int],
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=direct, depth=depth) as file:
        assert file.write_batch(*batch(count), durable="flush") == count * BLOCK
    assert groups(faults.seen()) == [*expected, 0]
    assert {write.flags for write in faults.seen(WRITE)} == {0}
    assert {flush.flags for flush in faults.seen(FLUSH)} == {1}  # data, as fdatasync
    assert has_blocks(path, range(count))


@DIRECT
def test_emulated_writes_of_a_batch_are_each_followed_by_a_flush(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = make(scratch / "file")
    with emulating(path, engine, faults, direct=direct, depth=4) as file:
        assert file.write_batch(*batch(16), durable="fua") == 16 * BLOCK
        requests = faults.seen()
    assert groups(requests)[-1] == 0
    assert (
        max(groups(requests)) <= 4 * 2
    )  # what is in flight when it is submitted, and as many after
    assert has_blocks(path, range(16))


@DIRECT
def test_a_group_is_not_told_durable_while_its_flush_is_under_way(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with (
        opened(make(scratch / "file"), engine, direct=direct, depth=4) as file,
        threads() as start,
    ):
        faults.rule(FLUSH, HOLD)
        written = start(file.write_batch, *batch(4), durable="flush")
        faults.wait_held()
        assert not written.done()
        assert groups(faults.seen()) == [4, 0]
        faults.release()
        assert written.result() == 4 * BLOCK


@DIRECT
def test_no_flush_of_a_group_is_submitted_before_its_last_write_is_completed(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with (
        opened(make(scratch / "file"), engine, direct=direct, depth=4) as file,
        threads() as start,
    ):
        faults.rule(WRITE, HOLD, nth=4)
        written = start(file.write_batch, *batch(4), durable="flush")
        faults.wait_held()
        wait_promised(file, 3)
        assert faults.seen(FLUSH) == []
        faults.release()
        assert written.result() == 4 * BLOCK
    assert groups(faults.seen()) == [4, 0]


def test_a_write_completed_behind_anothers_flush_waits_for_the_next_one(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file, threads() as start:
        file.pwrite(block(0), 0)  # what the first flush covers, and no more
        faults.rule(FLUSH, HOLD)
        flushed = start(file.flush)
        faults.wait_held()
        written = start(file.write_batch, *batch(4), durable="flush")
        wait_promised(file, 1 + 4)
        assert len(faults.seen(FLUSH)) == 1
        faults.rule(FLUSH, HOLD, nth=2)
        faults.release()
        flushed.result()
        faults.wait_held()
        assert not written.done()
        faults.release()
        assert written.result() == 4 * BLOCK
    assert len(faults.seen(FLUSH)) == 2


def test_an_unfinished_group_does_not_keep_the_flush_of_another_thread_waiting(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with (
        opened(make(scratch / "file"), engine, direct=True, depth=4) as file,
        threads() as start,
    ):
        faults.rule(WRITE, HOLD, nth=3)
        written = start(file.write_batch, *batch(3), durable="flush")
        faults.wait_held()
        wait_promised(file, 2)
        file.flush()
        assert not written.done()
        faults.release()
        assert written.result() == 3 * BLOCK
    assert len(faults.seen(FLUSH)) == 2


def test_a_write_that_fails_does_not_keep_its_group_from_its_flush(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True, depth=4) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=2)
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=4)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(4), durable="flush")
        assert list(caught.value.failures) == [1, 3]
    assert groups(faults.seen()) == [4, 0]
    assert has_blocks(path, [0, 2])


def test_a_group_of_which_every_write_failed_needs_no_flush(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True, depth=4) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO, times=4)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(4), durable="flush")
        assert list(caught.value.failures) == [0, 1, 2, 3]
    assert faults.seen(FLUSH) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_an_engine_that_cannot_flush_gives_way_to_fdatasync_for_a_group(
    scratch: Path, engine: str, faults: Faults, code: int
) -> None:
    with opened(make(scratch / "file"), engine, direct=True, depth=4) as file:
        faults.rule(FLUSH, ANSWER, -code)
        assert file.write_batch(*batch(8), durable="flush") == 8 * BLOCK
    assert groups(faults.seen()) == [4, 0, 4, 0]
    assert [flush.opcode for flush in faults.seen(FLUSH)][1:] == [0, 0]


def test_several_batches_share_flushes_and_none_waits_for_ever(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True, depth=2) as file, threads() as start:
        written = [
            start(file.write_batch, *batch(8, first=8 * n), durable="flush") for n in range(8)
        ]
        assert [one.result() for one in written] == [8 * BLOCK] * 8
    assert has_blocks(path, range(64))
    assert len(faults.seen(FLUSH)) <= 8 * 4 * 2
    assert groups(faults.seen())[-1] == 0


# ---- failed flushes ----


@DIRECT
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_failed_flush_fails_its_whole_group_and_all_that_follows_and_latches(
    scratch: Path, engine: str, faults: Faults, direct: bool, failing: int
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=direct, depth=4) as file:
        faults.rule(FLUSH, ANSWER, -errno.EIO, nth=failing)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(12), durable="flush")
        error = caught.value
        assert error.errno == errno.EIO
        assert list(error.failures) == list(range(4 * (failing - 1), 12))
        taken = []
        for failure in error.failures.values():
            assert isinstance(failure, DurabilityError)
            assert failure.errno == errno.EIO
            taken.append(failure.bytes_written)
        assert taken == [BLOCK] * 4 + [0] * (len(taken) - 4)  # what follows is not begun
        assert len(faults.seen(FLUSH)) == failing
        with pytest.raises(DurabilityError):
            file.flush()
        with pytest.raises(BatchError) as again:
            file.write_batch(*batch(3), durable="flush")
        assert [type(one) for one in again.value.failures.values()] == [DurabilityError] * 3
        assert len(faults.seen(WRITE)) == 4 * failing
        assert file.write_batch(*batch(3), durable=None) == 3 * BLOCK  # no promise was asked for
        assert file.read_batch(*batch(3)) == [BLOCK] * 3
    with opened(path, engine, direct=direct) as file:
        assert file.write_batch(*batch(3), durable="flush") == 3 * BLOCK


@DIRECT
def test_a_failed_flush_fails_the_emulated_writes_of_a_batch(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with emulating(make(scratch / "file"), engine, faults, direct=direct, depth=4) as file:
        faults.rule(FLUSH, ANSWER, -errno.ENOSPC)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(6), durable="fua")
        assert list(caught.value.failures) == list(range(6))
        assert {type(one) for one in caught.value.failures.values()} == {DurabilityError}
        assert caught.value.errno == errno.ENOSPC


def test_a_failed_flush_of_another_thread_fails_the_group_that_waits(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file, threads() as start:
        faults.rule(FLUSH, HOLD)
        first = start(file.flush)
        faults.wait_held()
        written = start(file.write_batch, *batch(4), durable="flush")
        wait_promised(file, 1 + 4)
        faults.rule(FLUSH, ANSWER, -errno.EIO, nth=2)
        faults.release()
        first.result()
        error = written.exception()
        assert isinstance(error, BatchError)
        assert {type(one) for one in error.failures.values()} == {DurabilityError}
        assert len(error.failures) == 4


def test_native_writes_of_a_direct_file_are_durable_also_after_the_latch(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True, depth=4) as file:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        faults.rule(FLUSH, ANSWER, -errno.EIO)
        with pytest.raises(DurabilityError):
            file.flush()
        faults.restart()
        assert file.write_batch(*batch(6), durable="fua") == 6 * BLOCK
        with pytest.raises(BatchError):
            file.write_batch(*batch(6), durable="flush")
    assert [write.flags for write in faults.seen()] == [DSYNC] * 6


# ---- the page cache tells once ----


def test_of_a_batch_on_a_page_cache_file_one_write_at_most_can_use_up_an_error(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, depth=4) as file, threads() as start:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        faults.rule(WRITE, HOLD)
        written = start(file.write_batch, *batch(12), durable="fua")
        faults.wait_held()
        if engine != "threads":  # there one write is under way at a time
            wait_promised(file, 3)
            assert [write.flags for write in faults.seen(WRITE)] == [DSYNC, 0, 0, 0]
        assert faults.seen(FLUSH) == []  # it would be told of the held write's error
        faults.release()
        assert written.result() == 12 * BLOCK
    requests = faults.seen()
    if {write.flags for write in faults.seen(WRITE)} != {DSYNC}:
        assert requests[-1].kind == FLUSH
    assert has_blocks(path, range(12))


def test_a_flagged_write_of_a_batch_that_fails_on_a_page_cache_file_fails_those_beside_it(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, depth=4) as file:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        faults.rule(WRITE, ANSWER, -errno.EIO)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(8), durable="fua")
        own, *others = caught.value.failures.values()
        assert not isinstance(own, DurabilityError)
        assert [type(one) for one in others] == [DurabilityError] * 7
        with pytest.raises(DurabilityError):
            file.flush()
    assert faults.seen(FLUSH) == []


@contextmanager
def synchronous(path: Path, engine: str, depth: int) -> Iterator[File]:
    """Open *path* by a descriptor with O_DSYNC, which every engine's plain writes obey."""
    descriptor = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)
    try:
        with open_file(descriptor, "r+", engine=engine, depth=depth) as file:
            yield file
            assert_idle(file)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("durable", ["fua", "flush", "auto", None])
@pytest.mark.parametrize("depth", [1, 4])
def test_a_batch_on_a_synchronous_file_is_a_write_at_a_time(
    scratch: Path, engine: str, faults: Faults, durable: Durable | None, depth: int
) -> None:
    path = make(scratch / "file")
    with synchronous(path, engine, depth) as file, threads() as start:
        faults.rule(WRITE, HOLD)
        written = start(file.write_batch, *batch(6), durable=durable)
        faults.wait_held()
        others = start(file.write_batch, *batch(6, first=6), durable=durable)
        assert len(faults.seen(WRITE)) == 1
        faults.release()
        assert [written.result(), others.result()] == [6 * BLOCK] * 2
    assert has_blocks(path, range(12))
    if durable == "flush":
        assert groups(faults.seen()) == [1] * 12 + [0]


def test_an_emulated_batch_on_a_synchronous_file_ends(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with synchronous(path, engine, 4) as file:
        if file.can_fua is Fua.NATIVE:
            faults.rule(WRITE, ANSWER, -errno.EOPNOTSUPP)
        assert file.write_batch(*batch(6), durable="fua") == 6 * BLOCK
    assert has_blocks(path, range(6))
    assert faults.seen()[-1].kind == FLUSH


def test_a_failed_write_of_a_batch_on_a_synchronous_file_latches(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with synchronous(make(scratch / "file"), engine, 4) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=3)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(6), durable="flush")
        failures = caught.value.failures
        assert list(failures) == [2, 3, 4, 5]
        assert [isinstance(one, DurabilityError) for one in failures.values()] == [
            False,
            True,
            True,
            True,
        ]


# ---- others on the same file ----


@DIRECT
@DURABLE
def test_batches_and_single_writes_of_several_threads_leave_every_byte(
    scratch: Path, engine: str, faults: Faults, direct: bool, durable: Durable
) -> None:
    path = make(scratch / "file", 128 * BLOCK)

    def write(file: File, thread: int) -> None:
        first = 16 * thread
        for _ in range(4):
            file.write_batch(*batch(12, first=first), durable=durable)
            for number in range(first + 12, first + 16):
                file.pwrite(block(number), number * BLOCK, fua=number % 2 == 0)
            file.flush()
            back = [block(0) for _ in range(16)]
            offsets, expected = batch(16, first=first)
            assert file.read_batch(offsets, back) == [BLOCK] * 16
            assert back == expected

    with opened(path, engine, direct=direct, depth=5) as file, threads() as start:
        faults.rule(WRITE, ANSWER, -errno.EAGAIN, nth=20, times=7)
        if engine != "threads":
            faults.rule(SUBMIT, FAIL, -errno.EAGAIN, nth=10, times=3)
        for done in [start(write, file, thread) for thread in range(8)]:
            done.result()
    assert has_blocks(path, range(128))
