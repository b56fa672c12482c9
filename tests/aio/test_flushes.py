"""Emulated FUA: a write, then a flush; and flushes that coalesce without lying."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from core_files import (
    BLOCK,
    DSYNC,
    block,
    emulating,
    make,
    opened,
    threads,
    wait_promised,
    write_behind_a_held_flush,
)
from faults_table import ANSWER, FLUSH, HOLD, WRITE, Faults

from fuaio.aio import DurabilityError, Fua

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])


@pytest.mark.combination
@DIRECT
def test_an_emulated_write_is_a_write_and_then_a_data_flush(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = make(scratch / "file")
    with emulating(path, engine, faults, direct=direct) as file:
        assert file.supported_write_flags == 0
        assert file.pwrite(block(1), BLOCK, fua=True) == BLOCK
    assert [request.kind for request in faults.seen()] == [WRITE, FLUSH]
    assert faults.seen(WRITE)[0].flags == 0
    assert path.read_bytes()[BLOCK : 2 * BLOCK] == block(1)


@DIRECT
def test_a_native_write_carries_the_flag_and_no_flush_of_ours(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with opened(make(scratch / "file"), engine, direct=direct) as file:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        file.pwrite(block(1), 0, fua=True)
        file.pwritev([block(2), block(3)], BLOCK, fua=True)
    assert [(r.kind, r.flags, r.iovcnt) for r in faults.seen()] == [
        (WRITE, DSYNC, 1),
        (WRITE, DSYNC, 2),
    ]


@pytest.mark.combination
@DIRECT
def test_a_plain_write_carries_no_flag_and_needs_no_flush(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with opened(make(scratch / "file"), engine, direct=direct) as file:
        file.pwrite(block(1), 0)
    assert [(request.kind, request.flags) for request in faults.seen()] == [(WRITE, 0)]


@DIRECT
def test_fifteen_writes_during_a_flush_share_the_next_one(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with (
        emulating(make(scratch / "file"), engine, faults, direct=direct) as file,
        threads() as start,
    ):
        faults.rule(FLUSH, HOLD, nth=2)
        first, rest = write_behind_a_held_flush(file, faults, start, 15)
        faults.release()
        assert first.result() == BLOCK
        faults.wait_held()  # the second flush is submitted, and not answered
        assert not any(write.done() for write in rest)
        faults.release()
        assert [write.result() for write in rest] == [BLOCK] * 15
    assert len(faults.seen(FLUSH)) == 2
    assert len(faults.seen(WRITE)) == 16


@DIRECT
def test_a_write_completed_after_the_flush_was_submitted_fails_with_the_next_flush(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with (
        emulating(make(scratch / "file"), engine, faults, direct=direct) as file,
        threads() as start,
    ):
        faults.rule(FLUSH, ANSWER, -errno.EIO, nth=2)
        early, (late,) = write_behind_a_held_flush(file, faults, start, 1)
        faults.release()
        assert early.result() == BLOCK
        with pytest.raises(DurabilityError) as caught:
            late.result()
    assert caught.value.errno == errno.EIO
    assert caught.value.bytes_written == BLOCK


def test_a_flush_call_never_joins_a_flush_that_was_submitted_before_it(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine) as file, threads() as start:
        faults.rule(FLUSH, HOLD, nth=1)
        first = start(file.flush)
        faults.wait_held()
        others = [start(file.flush) for _ in range(4)]
        wait_promised(file, 5)
        faults.release()
        for call in [first, *others]:
            call.result()
    assert len(faults.seen(FLUSH)) == 2


def test_a_flush_is_never_skipped_because_nothing_was_written(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine) as file:
        for _ in range(3):
            file.flush()
    assert len(faults.seen(FLUSH)) == 3


def test_a_metadata_flush_is_not_shared_with_a_data_flush(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine) as file, threads() as start:
        file.flush()
        file.flush(metadata=True)
        faults.rule(FLUSH, HOLD, nth=3)
        first = start(file.flush)
        faults.wait_held()
        calls = [start(file.flush), start(file.flush, metadata=True)]
        wait_promised(file, 3)
        faults.release()
        for call in [first, *calls]:
            call.result()
    data_only = [bool(request.flags) for request in faults.seen(FLUSH)]
    assert data_only == [True, False, True, False]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_an_engine_that_cannot_flush_gives_way_to_fdatasync(
    scratch: Path, engine: str, faults: Faults, code: int
) -> None:
    with emulating(make(scratch / "file"), engine, faults) as file:
        faults.rule(FLUSH, ANSWER, -code)
        assert file.pwrite(block(1), 0, fua=True) == BLOCK
        file.flush()
    opcodes = [request.opcode for request in faults.seen(FLUSH)]
    assert len(opcodes) == 3
    assert opcodes[1:] == [0, 0]  # fdatasync itself


def test_depth_one_leaves_room_for_the_flush(scratch: Path, engine: str, faults: Faults) -> None:
    path = make(scratch / "file")
    with emulating(path, engine, faults, depth=1) as file, threads() as start:
        writes = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(1, 33)]
        assert [write.result() for write in writes] == [BLOCK] * 32
    data = path.read_bytes()
    assert all(data[n * BLOCK : (n + 1) * BLOCK] == block(n) for n in range(1, 33))
