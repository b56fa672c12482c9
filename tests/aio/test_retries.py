"""EINTR, EAGAIN, and a kernel that takes a part: nothing is lost, and nothing written twice."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from core_files import BLOCK, DSYNC, block, make, opened, threads
from faults_table import (
    ANSWER,
    FAIL,
    FLUSH,
    HOLD,
    LIE,
    SETUP,
    SUBMIT,
    TAKE,
    WRITE,
    Faults,
)
from needs import need_engine

from fuaio.aio import EngineUnavailableError, Fua, open_file

RING_ENGINES = pytest.mark.parametrize("engine", ["io_uring", "linux_aio"], indirect=True)
AGAIN = pytest.mark.parametrize("code", [errno.EINTR, errno.EAGAIN, errno.ECANCELED])


def flag_of(native: bool) -> int:
    return DSYNC if native else 0


@AGAIN
@pytest.mark.parametrize("times", [1, 3])
def test_a_completion_that_says_again_is_prepared_again_with_its_flag(
    scratch: Path, engine: str, faults: Faults, code: int, times: int
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True) as file:
        native = file.can_fua is Fua.NATIVE
        faults.rule(WRITE, ANSWER, -code, times=times)
        assert file.pwrite(block(1), 0, fua=True) == BLOCK
    writes = faults.seen(WRITE)
    assert [write.flags for write in writes] == [flag_of(native)] * (times + 1)
    assert path.read_bytes()[:BLOCK] == block(1)


def test_a_completion_that_always_says_again_ends_with_eagain(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file:
        faults.rule(WRITE, ANSWER, -errno.EAGAIN, times=-1)
        with pytest.raises(BlockingIOError) as caught:
            file.pwrite(block(1), 0, fua=True)
        assert caught.value.errno == errno.EAGAIN
        assert 2 <= len(faults.seen(WRITE)) < 200
        faults.restart()
        assert file.pwrite(block(1), 0, fua=True) == BLOCK


@AGAIN
def test_a_flush_that_says_again_is_submitted_again(
    scratch: Path, engine: str, faults: Faults, code: int
) -> None:
    with opened(make(scratch / "file"), engine) as file:
        faults.rule(FLUSH, ANSWER, -code, times=2)
        file.flush()
    assert len(faults.seen(FLUSH)) == 3


@RING_ENGINES
@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EINTR, errno.EBUSY])
@pytest.mark.parametrize("times", [1, 5])
def test_a_submit_that_fails_for_now_is_tried_again(
    scratch: Path, engine: str, faults: Faults, code: int, times: int
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True) as file:
        native = file.can_fua is Fua.NATIVE
        faults.rule(SUBMIT, FAIL, -code, times=times)
        assert file.pwrite(block(1), 0, fua=True) == BLOCK
    assert [write.flags for write in faults.seen(WRITE)] == [flag_of(native)]
    assert path.read_bytes()[:BLOCK] == block(1)


@RING_ENGINES
def test_a_submit_that_always_fails_with_eagain_ends_with_it(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file:
        faults.rule(SUBMIT, FAIL, -errno.EAGAIN, times=-1)
        with pytest.raises(BlockingIOError):
            file.pwrite(block(1), 0, fua=True)
        assert faults.seen(WRITE) == []
        faults.restart()
        assert file.pwrite(block(2), 0, fua=True) == BLOCK
        assert len(faults.seen(WRITE)) == 1


@RING_ENGINES
def test_an_error_of_submit_fails_the_request_and_leaves_nothing_behind(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True) as file:
        faults.rule(SUBMIT, FAIL, -errno.ENXIO)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(1), 0, fua=True)
        assert caught.value.errno == errno.ENXIO
        assert file.pwrite(block(2), BLOCK, fua=True) == BLOCK
    assert [write.offset for write in faults.seen(WRITE)] == [BLOCK]
    assert path.read_bytes()[: 2 * BLOCK] == bytes(BLOCK) + bytes(block(2))


@RING_ENGINES
def test_an_error_of_submit_belongs_to_one_request_at_most(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True) as file, threads() as start:
        faults.rule(SUBMIT, FAIL, -errno.ENXIO, nth=3)
        # Where it is emulated this may be the flush's, whose failure is everybody's.
        fua = file.can_fua is Fua.NATIVE
        writes = [start(file.pwrite, block(n), n * BLOCK, fua=fua) for n in range(16)]
        failed = [n for n, write in enumerate(writes) if write.exception() is not None]
    # None, where another thread's call handed the request over in the meantime.
    assert len(failed) <= 1
    data = path.read_bytes()
    for n in range(16):
        expected = bytes(BLOCK) if n in failed else block(n)
        assert data[n * BLOCK : (n + 1) * BLOCK] == expected


@RING_ENGINES
@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_kernel_that_takes_a_part_gets_each_request_once(
    scratch: Path, engine: str, faults: Faults, most: int
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True) as file, threads() as start:
        faults.rule(SUBMIT, TAKE, most, times=20 if most == 0 else -1)
        writes = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(64)]
        assert [write.result() for write in writes] == [BLOCK] * 64
        native = file.can_fua is Fua.NATIVE
    seen = faults.seen(WRITE)
    assert sorted(write.offset for write in seen) == [n * BLOCK for n in range(64)]
    assert {write.flags for write in seen} == {flag_of(native)}
    data = path.read_bytes()
    assert all(data[n * BLOCK : (n + 1) * BLOCK] == block(n) for n in range(64))


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.EIO])
def test_an_enter_that_took_requests_and_failed_is_not_repeated(
    scratch: Path, faults: Faults, code: int
) -> None:
    need_engine("io_uring")
    with opened(make(scratch / "file"), "io_uring", direct=True) as file, threads() as start:
        faults.rule(SUBMIT, LIE, -code, times=10)
        writes = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(32)]
        assert [write.result() for write in writes] == [BLOCK] * 32
    seen = faults.seen(WRITE)
    assert sorted(write.offset for write in seen) == [n * BLOCK for n in range(32)]


def test_more_threads_than_slots_all_finish(scratch: Path, engine: str, faults: Faults) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True, depth=2) as file, threads() as start:
        faults.rule(WRITE, HOLD, times=2)
        writes = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(16)]
        faults.wait_held(2)
        assert len(faults.seen(WRITE)) == 2  # the queue is full
        faults.release()
        assert [write.result() for write in writes] == [BLOCK] * 16


@RING_ENGINES
def test_what_the_kernel_refused_for_now_is_handed_over_while_others_are_in_flight(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file, threads() as start:
        faults.rule(WRITE, HOLD, nth=1)
        first = start(file.pwrite, block(1), 0, fua=True)
        faults.wait_held()
        faults.rule(SUBMIT, FAIL, -errno.EAGAIN, nth=2)
        second = start(file.pwrite, block(2), BLOCK, fua=True)
        assert second.result() == BLOCK
        assert not first.done()
        faults.release()
        assert first.result() == BLOCK


@RING_ENGINES
@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EPERM, errno.ENOSYS, errno.ENOMEM])
def test_a_refused_set_up_names_its_cause_and_auto_goes_on(
    scratch: Path, engine: str, faults: Faults, code: int
) -> None:
    path = make(scratch / "file")
    faults.rule(SETUP, FAIL, -code, times=-1)
    with pytest.raises(EngineUnavailableError) as caught:
        open_file(path, "r+", engine=engine)
    assert caught.value.errno == code
    assert caught.value.engine == engine
    causes = {
        errno.EAGAIN: {"limit", "kernel"},
        errno.EPERM: {"sysctl", "policy"},
        errno.ENOSYS: {"kernel", "policy"},
        errno.ENOMEM: {"limit"},
    }
    assert caught.value.cause in causes[code]
    with opened(path, "auto") as file:
        assert file.engine == "threads"
        assert file.pwrite(block(1), 0, fua=True) == BLOCK
    assert path.read_bytes()[:BLOCK] == block(1)
