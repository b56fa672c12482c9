"""Files on one engine for the fault tests, and what must hold of each after a fault."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from faults_table import ANSWER, FLUSH, HOLD, WRITE, Faults

from fuaio.aio import File, Fua, aligned_buffer, open_file
from fuaio.aio._base import BaseFile
from fuaio.aio._core import lib

BLOCK = 4096
# Not os.RWF_DSYNC, which a Python lacks that was built with an old C library.
DSYNC = 0x2  # Linux uapi/linux/fs.h: RWF_DSYNC


def block(number: int, length: int = BLOCK) -> memoryview:
    """*length* bytes of memory that O_DIRECT takes, which tell *number* at every place."""
    buffer = memoryview(aligned_buffer(length))
    pattern = bytes((number * 37 + place * 11) % 251 + 1 for place in range(min(length, 251)))
    buffer[:] = (pattern * (length // len(pattern) + 1))[:length]
    return buffer


def batch(count: int, *, first: int = 0) -> tuple[list[int], list[memoryview]]:
    """*count* blocks and where they belong: from block *first* of a file on."""
    numbers = range(first, first + count)
    return [number * BLOCK for number in numbers], [block(number) for number in numbers]


def has_blocks(path: Path, numbers: Iterable[int]) -> bool:
    """Whether the file has at its place each of the blocks *numbers*."""
    data = path.read_bytes()
    return all(data[at * BLOCK : (at + 1) * BLOCK] == block(at) for at in numbers)


def make(path: Path, length: int = 64 * BLOCK) -> Path:
    """A file of zeros whose blocks are written."""
    path.write_bytes(bytes(length))
    return path


@contextmanager
def opened(path: Path, engine: str, *, direct: bool = False, depth: int = 32) -> Iterator[File]:
    """Open *path* and, at the end, look that nothing is in flight, waits or is held."""
    with open_file(path, "r+", engine=engine, direct=direct, depth=depth) as file:
        yield file
        assert_idle(file)


@contextmanager
def emulating(
    path: Path, engine: str, faults: Faults, *, direct: bool = False, depth: int = 32
) -> Iterator[File]:
    """The same, on a kernel that does not know the flag: FUA writes are a write and a flush."""
    with opened(path, engine, direct=direct, depth=depth) as file:
        if can_fua(file) is Fua.NATIVE:
            faults.rule(WRITE, ANSWER, -errno.EOPNOTSUPP, nth=1 + len(faults.seen(WRITE)))
            file.pwrite(block(0), 0, fua=True)
        assert can_fua(file) is Fua.EMULATED
        faults.restart()
        yield file


def can_fua(file: BaseFile) -> Fua:
    """How *file* asks now; a call, because the answer can change with a write."""
    return file.can_fua


def assert_idle(file: BaseFile) -> None:
    """Nothing in flight, nothing waits for a flush, no buffer is held."""
    queue = file._queue
    assert lib.fuaio_queue_in_flight(queue._queue) == 0
    assert lib.fuaio_queue_promised(queue._queue) == 0
    assert queue.held == {}
    assert queue._abandoned == []


def wait_promised(file: File, count: int) -> None:
    """Wait until *count* requests of *file* are known to wait for a flush."""
    end = time.monotonic() + 20
    while lib.fuaio_queue_promised(file._queue._queue) != count:
        assert time.monotonic() < end, f"{count} requests never waited for a flush"
        os.sched_yield()


def write_behind_a_held_flush(
    file: File, faults: Faults, start: Callable[..., Future[int]], count: int
) -> tuple[Future[int], list[Future[int]]]:
    """Hold the flush of one emulated write, and let *count* more complete behind it."""
    faults.rule(FLUSH, HOLD, nth=1)
    first = start(file.pwrite, block(1), 0, fua=True)
    faults.wait_held()
    rest = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(2, 2 + count)]
    wait_promised(file, 1 + count)
    return first, rest


@contextmanager
def threads(count: int = 16) -> Iterator[Callable[..., Future[int]]]:
    """Call it to run a function in a thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        yield pool.submit
