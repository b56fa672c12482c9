"""Files on an event loop for the tests: what holds their completions back and lets them go."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from core_files import assert_idle, block, can_fua
from faults_table import ANSWER, WRITE, Faults
from life_files import descriptors

from fuaio.aio import AsyncFile, Fua, open_async
from fuaio.aio._core import lib

T = TypeVar("T")


class Run(Protocol):
    """Runs a coroutine in a new loop, to its end."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T: ...


@asynccontextmanager
async def opened(
    path: Path, engine: str, *, direct: bool = False, depth: int = 32
) -> AsyncIterator[AsyncFile]:
    """Open *path* and, at the end, look that nothing is in flight, waits or is held."""
    async with open_async(path, "r+", engine=engine, direct=direct, depth=depth) as file:
        yield file
        await until(lambda: is_idle(file))
        assert_idle(file)
        assert file._batches == {}


@asynccontextmanager
async def emulating(path: Path, engine: str, faults: Faults) -> AsyncIterator[AsyncFile]:
    """The same, on a kernel that does not know the flag: FUA writes are a write and a flush."""
    async with opened(path, engine) as file:
        if can_fua(file) is Fua.NATIVE:
            faults.rule(WRITE, ANSWER, -errno.EOPNOTSUPP, nth=1 + len(faults.seen(WRITE)))
            await file.pwrite(block(0), 0, fua=True)
        assert can_fua(file) is Fua.EMULATED
        faults.restart()
        yield file


def is_idle(file: AsyncFile) -> bool:
    """Whether *file* waits for nothing."""
    return not file._waiting and file._queue.is_idle


def in_flight(file: AsyncFile) -> int:
    """What the kernel has of *file*; the queue's flush counts as one."""
    return int(lib.fuaio_queue_in_flight(file._queue.c))


async def until(happened: Callable[[], bool]) -> None:
    """Give the loop turns until it is so."""
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0)


async def turns(count: int = 5) -> None:
    """Give the loop some turns."""
    for _ in range(count):
        await asyncio.sleep(0)


def let_go(file: AsyncFile, faults: Faults) -> None:
    """Give back the completions that are held; the kernel told the eventfd of them long ago."""
    faults.release()
    os.eventfd_write(file._queue.event_fd, 1)


async def hold(
    file: AsyncFile, faults: Faults, awaited: Coroutine[Any, Any, T], count: int = 1
) -> asyncio.Task[T]:
    """Begin *awaited*, and wait until *count* completions are held as a rule says."""
    task = asyncio.ensure_future(awaited)
    await until(lambda: faults.are_held(count))
    assert not task.done()
    return task


def step(coroutine: Coroutine[Any, Any, T]) -> tuple[bool, T | None]:
    """Run *coroutine* until it waits: whether it returned, and what."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return True, stopped.value
    return False, None


class Slow:
    """Stands for a step of opening, which takes until it is let go."""

    def __init__(self, step: Callable[..., object]) -> None:
        self._step = step
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, *arguments: object) -> object:
        self.began.set()
        assert self.go.wait(20)
        return self._step(*arguments)


def of_files() -> list[str]:
    """What the descriptors are that an `AsyncFile` has: file, ring, eventfd."""
    kinds = ("/file", "anon_inode:[eventfd]", "anon_inode:[io_uring]")
    return sorted(what for what in descriptors().values() if what.endswith(kinds))


def in_child(function: Callable[[], object]) -> int:
    """Fork, call *function* in the child, and return its exit status."""
    child = os.fork()
    if not child:
        try:
            function()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  # no test may go on in the child
            os.write(2, repr(error).encode())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
