"""Memory made once for many requests: how it is registered, and what holds where it is not."""

from __future__ import annotations

import errno
import gc
import json
import mmap
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import async_files
import pytest
from async_files import Run
from core_files import BLOCK, DSYNC, assert_idle, block, make, threads
from faults_table import ANSWER, FAIL, FLUSH, HOLD, READ, SETUP, SHORT, WRITE, Faults
from life_files import leave_held_call
from needs import missing, need_engine, root_is_required

from fuaio.aio import BufferPool, ClosedError, File, Fua, aligned_buffer, open_async, open_file

CHILD = Path(__file__).parents[1] / "support" / "pool_child.py"
CANNOT = 77

# Linux uapi/linux/io_uring.h: IORING_OP_READV and so on.
READV, WRITEV, READ_FIXED, WRITE_FIXED = 1, 2, 4, 5

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])


@pytest.fixture
def uring() -> str:
    need_engine("io_uring")
    return "io_uring"


@contextmanager
def opened(
    path: Path, pool: BufferPool, *, engine: str = "io_uring", direct: bool = False, depth: int = 8
) -> Iterator[File]:
    with open_file(path, "r+", engine=engine, direct=direct, depth=depth, pool=pool) as file:
        yield file
        assert_idle(file)


def filled(count: int, length: int = BLOCK) -> BufferPool:
    pool = BufferPool(count, length)
    for number, buffer in enumerate(pool):
        buffer[:] = block(number, length)
    return pool


def flag_of(file: File) -> int:
    """What each durable write has to carry."""
    return DSYNC if file.can_fua is Fua.NATIVE else 0


def watched(pool: BufferPool) -> weakref.ref[mmap.mmap]:
    """Tells whether the memory of *pool* is still there."""
    memory = pool.memory.obj
    assert isinstance(memory, mmap.mmap)
    return weakref.ref(memory)


# ---- what it is ----


def test_a_pool_is_so_many_writable_buffers_side_by_side_from_a_page_on() -> None:
    pool = BufferPool(3, 1000)
    assert (len(pool), pool.length, len(pool.memory)) == (3, 1000, 3000)
    for number, buffer in enumerate(pool):
        buffer[:] = bytes([number + 1]) * 1000
    assert bytes(pool.memory) == b"\1" * 1000 + b"\2" * 1000 + b"\3" * 1000
    assert pool[-1] == pool.memory[2000:]
    with pytest.raises(IndexError):
        pool[3]


@pytest.mark.parametrize(("count", "length"), [(0, 4096), (4, 0), (-1, 4096), (4, -4096)])
def test_a_pool_of_nothing_is_refused_with_what_was_asked(count: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"a pool of {count} buffers of {length} bytes"):
        BufferPool(count, length)


@DIRECT
def test_a_pool_serves_every_engine(scratch: Path, engine: str, direct: bool) -> None:
    path, pool = make(scratch / "file"), filled(8)
    with opened(path, pool, engine=engine, direct=direct) as file:
        file.pwrite(pool[1], 0, fua=True)
        file.write_batch([n * BLOCK for n in range(8, 16)], pool.memory)
        assert file.pread_into(pool[0], BLOCK * 9) == BLOCK
        registered = file.statistics().pool
    assert path.read_bytes()[:BLOCK] == block(1)
    assert path.read_bytes()[8 * BLOCK : 16 * BLOCK] == b"".join(map(block, range(8)))
    assert pool[0] == block(1)
    assert registered.buffers == (engine == "io_uring")
    assert registered.why_not == ("" if registered.buffers else "only io_uring registers memory")


def test_a_file_without_a_pool_says_that_there_is_none(scratch: Path, engine: str) -> None:
    with open_file(make(scratch / "file"), engine=engine) as file:
        assert file.statistics().pool == (False, "the file was opened without a pool")


# ---- what reaches the kernel ----


@pytest.mark.combination
@DIRECT
def test_every_opcode_carries_the_flag_of_a_durable_write_or_is_flushed_after(
    scratch: Path, uring: str, faults: Faults, direct: bool
) -> None:
    pool, elsewhere = filled(4), block(9)
    ways: list[tuple[int, Callable[[File], object]]] = [
        (WRITE_FIXED, lambda file: file.pwrite(pool[2], 0, fua=True)),
        (WRITE_FIXED, lambda file: file.pwrite(pool.memory, 0, fua=True)),
        (WRITE_FIXED, lambda file: file.write_batch([0], [pool[3]])),
        (WRITEV, lambda file: file.pwritev([pool[0], pool[1]], 0, fua=True)),
        (WRITEV, lambda file: file.pwritev([pool[0], elsewhere], 0, fua=True)),
        (WRITEV, lambda file: file.pwrite(elsewhere, 0, fua=True)),
    ]
    with opened(make(scratch / "file"), pool, direct=direct) as file:
        native = file.can_fua is Fua.NATIVE
        for opcode, way in ways:
            faults.restart()
            way(file)
            (write, *flush) = faults.seen()
            assert (write.opcode, write.flags) == (opcode, DSYNC if native else 0)
            assert [request.kind for request in flush] == ([] if native else [FLUSH])


@pytest.mark.combination
@DIRECT
def test_a_plain_write_and_a_read_of_registered_memory_carry_no_flag(
    scratch: Path, uring: str, faults: Faults, direct: bool
) -> None:
    path, pool = make(scratch / "file"), filled(2)
    with opened(path, pool, direct=direct) as file:
        file.pwrite(pool[1], BLOCK)
        assert file.pread_into(pool[0], BLOCK) == BLOCK
    assert [(seen.opcode, seen.flags) for seen in faults.seen()] == [
        (WRITE_FIXED, 0),
        (READ_FIXED, 0),
    ]
    assert path.read_bytes()[BLOCK : 2 * BLOCK] == block(1) == pool[0]


def test_only_what_lies_wholly_in_the_pool_is_taken_for_registered(
    scratch: Path, uring: str, faults: Faults
) -> None:
    # A pool in the middle of other memory, so that what is next to it can be written too.
    pool, around = filled(1), memoryview(aligned_buffer(3 * BLOCK))
    around[:] = block(5, 3 * BLOCK)
    pool._mapping = around[BLOCK : 2 * BLOCK]  # type: ignore[assignment]  # a part of one
    places = [
        (0, 1),
        (BLOCK - 1, 1),
        (BLOCK - 1, 2),
        (BLOCK, 1),
        (BLOCK, BLOCK),
        (BLOCK, BLOCK + 1),
    ]
    places += [(2 * BLOCK - 1, 1), (2 * BLOCK - 1, 2), (2 * BLOCK, 1), (0, 3 * BLOCK)]
    path = make(scratch / "file")
    with opened(path, pool) as file:
        for start, length in places:
            file.pwrite(around[start : start + length], 0)
            assert path.read_bytes()[:length] == around[start : start + length]
    assert [write.opcode == WRITE_FIXED for write in faults.seen(WRITE)] == [
        start >= BLOCK and start + length <= 2 * BLOCK for start, length in places
    ]


@pytest.mark.combination
@DIRECT
def test_a_short_write_of_registered_memory_goes_on_with_its_tail_and_flag(
    scratch: Path, uring: str, faults: Faults, direct: bool
) -> None:
    path, pool = make(scratch / "file"), filled(1, 4 * BLOCK)
    faults.rule(WRITE, SHORT, BLOCK + 512)
    with opened(path, pool, direct=direct) as file:
        flag = flag_of(file)
        assert file.pwrite(pool[0], 0, fua=True) == 4 * BLOCK
        step = file.offset_align
    assert path.read_bytes()[: 4 * BLOCK] == block(0, 4 * BLOCK)
    tail = (BLOCK + 512) // step * step
    assert [(seen.opcode, seen.flags, seen.offset) for seen in faults.seen(WRITE)] == [
        (WRITE_FIXED, flag, 0),
        (WRITE_FIXED, flag, tail),
    ]


@pytest.mark.combination
@pytest.mark.parametrize("code", [errno.EINTR, errno.EAGAIN, errno.ECANCELED])
def test_a_write_of_registered_memory_that_is_tried_again_keeps_its_flag(
    scratch: Path, uring: str, faults: Faults, code: int
) -> None:
    pool = filled(1)
    faults.rule(WRITE, ANSWER, -code, times=3)
    with opened(make(scratch / "file"), pool, direct=True) as file:
        flag = flag_of(file)
        assert file.pwrite(pool[0], 0, fua=True) == BLOCK
    assert [(seen.opcode, seen.flags) for seen in faults.seen(WRITE)] == [(WRITE_FIXED, flag)] * 4


def test_a_failed_write_of_registered_memory_tells_its_error(
    scratch: Path, uring: str, faults: Faults
) -> None:
    pool = filled(1)
    with opened(make(scratch / "file"), pool, direct=True) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO)
        with pytest.raises(OSError) as caught:
            file.pwrite(pool[0], 0, fua=True)
    assert caught.value.errno == errno.EIO


@pytest.mark.combination
def test_an_event_loop_writes_registered_memory_with_the_flag(
    scratch: Path, uring: str, faults: Faults, run: Run
) -> None:
    path, pool = make(scratch / "file"), filled(8)

    async def write() -> int:
        async with open_async(path, "r+", engine=uring, direct=True, pool=pool) as file:
            assert file.statistics().pool == (True, "")
            await file.pwrite(pool[7], 8 * BLOCK, fua=True)
            await file.write_batch([n * BLOCK for n in range(8)], pool.memory)
            assert await file.pread_into(pool[0], BLOCK) == BLOCK
            await async_files.until(lambda: async_files.is_idle(file))
            return DSYNC if file.can_fua is Fua.NATIVE else 0

    flag = run(write())
    assert path.read_bytes()[: 9 * BLOCK] == b"".join(map(block, [*range(8), 7]))
    assert pool[0] == block(1)
    writes = faults.seen(WRITE)
    assert [(seen.opcode, seen.flags) for seen in writes] == [(WRITE_FIXED, flag)] * 9
    assert [seen.opcode for seen in faults.seen(READ)] == [READ_FIXED]


def test_files_that_share_a_pool_both_have_it_registered(
    scratch: Path, uring: str, faults: Faults
) -> None:
    first, second, pool = make(scratch / "first"), make(scratch / "second"), filled(2)
    with opened(first, pool) as one:
        with opened(second, pool) as other:
            other.pwrite(pool[1], 0, fua=True)
        one.pwrite(pool[0], 0, fua=True)
    assert [write.opcode for write in faults.seen(WRITE)] == [WRITE_FIXED] * 2
    assert first.read_bytes()[:BLOCK] == block(0)
    assert second.read_bytes()[:BLOCK] == block(1)


# ---- where it is refused ----


@pytest.mark.combination
@pytest.mark.parametrize("code", ["ENOMEM", "EINVAL", "EPERM", "EFAULT"])
def test_a_refused_registration_is_told_and_writes_go_as_without_it(
    scratch: Path, uring: str, faults: Faults, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    caplog.set_level("DEBUG", "fuaio")
    path, pool = make(scratch / "file"), filled(1)
    faults.rule(SETUP, FAIL, -getattr(errno, code), nth=2)
    with opened(path, pool, direct=True) as file:
        registered, flag = file.statistics().pool, flag_of(file)
        file.pwrite(pool[0], 0, fua=True)
    assert not registered.buffers
    assert registered.why_not.startswith(f"io_uring_register: {code}: ")
    assert f"pool: {registered.why_not}" in caplog.text
    assert [(seen.opcode, seen.flags) for seen in faults.seen(WRITE)] == [(WRITEV, flag)]
    assert path.read_bytes()[:BLOCK] == block(0)


def test_a_pool_of_more_than_a_gibibyte_is_not_registered_and_serves(
    scratch: Path, uring: str
) -> None:
    path, pool = make(scratch / "file"), BufferPool((1 << 18) + 1, BLOCK)
    pool[-1][:] = block(3)
    with opened(path, pool, direct=True) as file:
        file.pwrite(pool[-1], 0, fua=True)
        registered = file.statistics().pool
    assert registered == (False, "io_uring_register: EFAULT: io_uring registers at most 1 GiB")
    assert path.read_bytes()[:BLOCK] == block(3)


def seen_by_another_user(path: Path, limit: int, length: int, turns: int) -> list[tuple[bool, str]]:
    done = subprocess.run(
        [sys.executable, CHILD, path, str(limit), str(length), str(turns)],
        capture_output=True,
        check=False,
        cwd="/",
    )
    if done.returncode == CANNOT:
        missing(done.stderr.decode().strip(), required=root_is_required())
    assert done.returncode == 0, done.stderr.decode()
    return [(buffers, why_not) for buffers, why_not in json.loads(done.stdout)]


@pytest.mark.root
@pytest.mark.combination
def test_a_pool_over_the_users_limit_of_locked_memory_is_not_registered_and_serves(
    scratch: Path, uring: str
) -> None:
    path = make(scratch / "file")
    ((registered, why_not),) = seen_by_another_user(path, 64 * BLOCK, 65 * BLOCK, 1)
    assert not registered
    assert why_not.startswith("io_uring_register: ENOMEM: it exceeds RLIMIT_MEMLOCK")
    assert path.read_bytes()[:BLOCK] == b"\1" * BLOCK


@pytest.mark.root
def test_a_closed_file_no_longer_counts_its_pool_against_the_limit(
    scratch: Path, uring: str
) -> None:
    path = make(scratch / "file")
    # Two would not fit. The rings themselves count in kernels before 5.12.
    seen = seen_by_another_user(path, 1024 * BLOCK, 800 * BLOCK, 30)
    assert seen == [(True, "")] * 30
    assert path.read_bytes()[: 30 * BLOCK] == b"".join(bytes([n]) * BLOCK for n in range(1, 31))


# ---- how long it lives ----


def test_a_pool_that_was_dropped_lives_until_its_file_is_closed(scratch: Path, uring: str) -> None:
    pool = filled(1)
    memory = watched(pool)
    file = open_file(make(scratch / "file"), "r+", engine=uring, pool=pool)
    del pool
    gc.collect()
    assert memory() is not None
    file.close()
    gc.collect()
    assert memory() is None


def test_a_pool_that_was_dropped_lives_until_its_requests_are_completed(
    scratch: Path, ring_engine: str, faults: Faults
) -> None:
    path, pool = make(scratch / "file"), filled(1)
    memory, file = watched(pool), open_file(path, "r+", engine=ring_engine, pool=pool)
    faults.rule(WRITE, HOLD)
    leave_held_call(partial(file.pwrite, pool[0], 0, fua=True), faults)
    del pool
    with pytest.warns(ResourceWarning, match="unclosed"):
        del file
    gc.collect()
    assert memory() is not None
    faults.release()
    open_file(path).close()  # which looks after what was left over
    gc.collect()
    assert memory() is None


def test_a_file_that_cannot_be_opened_lets_its_pool_go(scratch: Path, engine: str) -> None:
    pool = filled(1)
    memory = watched(pool)
    with pytest.raises(FileNotFoundError):
        open_file(scratch / "nothing" / "there", "r+", engine=engine, pool=pool)
    del pool
    gc.collect()
    assert memory() is None


def test_threads_write_buffers_of_one_pool_at_once(scratch: Path, engine: str) -> None:
    path, pool = make(scratch / "file"), filled(64)
    with opened(path, pool, engine=engine, direct=True) as file, threads() as start:
        writes = [start(file.pwrite, pool[n], n * BLOCK, fua=True) for n in range(64)]
        assert [write.result() for write in writes] == [BLOCK] * 64
    assert path.read_bytes() == b"".join(map(block, range(64)))


def in_child(check: Callable[[], bool]) -> bool:
    """Whether *check* is so in a forked child."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if check() else 1)
        finally:  # nothing of pytest's may run here
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.combination
def test_a_forked_child_finds_zeros_in_the_pool_and_the_parent_what_it_had(
    scratch: Path, engine: str
) -> None:
    path, pool = make(scratch / "file"), filled(4)
    first, at_once = pool[0], bytes(pool.memory)
    with opened(path, pool, engine=engine, direct=True) as file:

        def finds_zeros() -> bool:
            empty = not any(pool.memory) and not any(first)
            pool.memory[:] = b"c" * len(pool.memory)
            try:
                file.pwrite(first, 0, fua=True)
            except ClosedError:
                return empty
            return False

        assert in_child(finds_zeros)
        assert bytes(pool.memory) == at_once
        file.pwrite(first, BLOCK, fua=True)
    assert path.read_bytes()[: 2 * BLOCK] == bytes(BLOCK) + block(0)


def test_a_forked_child_can_open_a_file_with_the_pool(scratch: Path, engine: str) -> None:
    path, pool = make(scratch / "file"), filled(2)
    with opened(path, pool, engine=engine, direct=True) as file:

        def writes() -> bool:
            pool[1][:] = block(7)
            with opened(path, pool, engine=engine, direct=True) as its_own:
                its_own.pwrite(pool[1], 0, fua=True)
                return its_own.statistics().pool.buffers == (engine == "io_uring")

        assert in_child(writes)
        file.pwrite(pool[1], BLOCK, fua=True)
    assert path.read_bytes()[: 2 * BLOCK] == b"".join([block(7), block(1)])
