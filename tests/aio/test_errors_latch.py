"""After a failed flush nothing on that file is called durable again; the page cache tells once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from core_files import (
    BLOCK,
    DSYNC,
    block,
    can_fua,
    emulating,
    make,
    opened,
    threads,
    wait_promised,
    write_behind_a_held_flush,
)
from faults_table import ANSWER, FLUSH, HOLD, WRITE, Faults

from fuaio.aio import DurabilityError, Fua, open_file

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])


@DIRECT
def test_a_failed_flush_latches_until_the_file_is_opened_again(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = make(scratch / "file")
    with emulating(path, engine, faults, direct=direct) as file:
        faults.rule(FLUSH, ANSWER, -errno.EIO)
        with pytest.raises(DurabilityError) as first:
            file.flush()
        flushes = len(faults.seen(FLUSH))
        for call in (file.flush, lambda: file.pwrite(block(1), 0, fua=True)):
            with pytest.raises(DurabilityError) as later:
                call()
            assert later.value.errno == first.value.errno == errno.EIO
        assert len(faults.seen(FLUSH)) == flushes  # a flush that would succeed proves nothing
        assert file.pwrite(block(2), 0) == BLOCK  # no promise was asked for
        assert file.pread(BLOCK, 0) == block(2)
    with opened(path, engine, direct=direct) as file:
        file.flush()
        assert file.pwrite(block(3), 0, fua=True) == BLOCK


@DIRECT
def test_a_failed_flush_fails_every_write_that_waited(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with (
        emulating(make(scratch / "file"), engine, faults, direct=direct) as file,
        threads() as start,
    ):
        faults.rule(FLUSH, ANSWER, -errno.ENOSPC, nth=2)
        first, rest = write_behind_a_held_flush(file, faults, start, 8)
        faults.release()
        assert first.result() == BLOCK
        for write in rest:
            error = write.exception()
            assert isinstance(error, DurabilityError)
            assert error.errno == errno.ENOSPC


@DIRECT
def test_a_failed_write_is_an_error_and_never_durable(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with opened(make(scratch / "file"), engine, direct=direct) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(1), 0, fua=True)
        assert caught.value.errno == errno.EIO


def test_a_failed_native_write_on_a_direct_file_is_that_write_alone(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO)
        with pytest.raises(OSError):
            file.pwrite(block(1), 0, fua=True)
        assert file.pwrite(block(1), 0, fua=True) == BLOCK
        file.flush()


def test_a_failed_native_write_on_a_page_cache_file_latches(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine) as file:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        file.pwrite(block(1), 0)
        faults.restart()
        faults.rule(WRITE, ANSWER, -errno.EIO)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(2), BLOCK, fua=True)
        assert not isinstance(caught.value, DurabilityError)
        for call in (file.flush, lambda: file.pwrite(block(1), 0, fua=True)):
            with pytest.raises(DurabilityError):
                call()
        assert faults.seen(FLUSH) == []


def test_a_refused_argument_does_not_latch(scratch: Path, engine: str, faults: Faults) -> None:
    with opened(make(scratch / "file"), engine) as file:
        faults.rule(WRITE, ANSWER, -errno.EFBIG)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(1), 0, fua=True)
        assert caught.value.errno == errno.EFBIG
        assert file.pwrite(block(1), 0, fua=True) == BLOCK


def native_and_others(
    scratch: Path, engine: str, faults: Faults, answer: tuple[int, int]
) -> list[BaseException | None]:
    """One native write is held, seven come; then it is answered. The outcomes, its own first."""
    with opened(make(scratch / "file"), engine) as file, threads() as start:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        faults.rule(WRITE, HOLD, nth=1)
        first = start(file.pwrite, block(1), 0, fua=True)
        faults.wait_held()
        rest = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(2, 9)]
        wait_promised(file, 7)
        flags = [write.flags for write in faults.seen(WRITE)]
        assert flags == [DSYNC] + [0] * 7  # one that can be told of an error, the rest plain
        assert faults.seen(FLUSH) == []
        faults.rule(FLUSH, ANSWER if answer[1] else HOLD, answer[1])
        faults.release()
        if not answer[1]:
            faults.wait_held()
            assert not any(write.done() for write in rest)
            faults.release()
        return [write.exception() for write in (first, *rest)]


def test_on_a_page_cache_file_one_native_write_is_in_flight_and_one_flush_serves_the_rest(
    scratch: Path, engine: str, faults: Faults
) -> None:
    outcomes = native_and_others(scratch, engine, faults, (0, 0))
    assert outcomes == [None] * 8
    assert len(faults.seen(FLUSH)) == 1


def test_the_error_of_that_flush_fails_all_that_it_served(
    scratch: Path, engine: str, faults: Faults
) -> None:
    own, *others = native_and_others(scratch, engine, faults, (0, -errno.EIO))
    assert own is None
    assert all(isinstance(error, DurabilityError) for error in others)


def test_on_a_direct_file_native_writes_go_side_by_side(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file, threads() as start:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        faults.rule(WRITE, HOLD, times=8)
        writes = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(8)]
        faults.wait_held(8)
        faults.release()
        assert [write.result() for write in writes] == [BLOCK] * 8
    assert [write.flags for write in faults.seen(WRITE)] == [DSYNC] * 8
    assert faults.seen(FLUSH) == []


def test_a_kernel_without_the_flag_is_learnt_and_served_by_flushes(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        if can_fua(file) is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        faults.rule(WRITE, ANSWER, -errno.EOPNOTSUPP)
        assert file.pwrite(block(1), 0, fua=True) == BLOCK
        assert can_fua(file) is Fua.EMULATED
    assert [(r.kind, r.flags) for r in faults.seen()] == [(WRITE, DSYNC), (WRITE, 0), (FLUSH, 1)]
