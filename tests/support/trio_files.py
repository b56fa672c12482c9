"""Files in a run of trio for the tests: what holds their completions back and lets them go."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from async_files import is_idle
from core_files import assert_idle
from faults_table import Faults

from fuaio.aio import AsyncFile, open_async


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


async def until(happened: Callable[[], bool]) -> None:
    """Give the others turns until it is so, also in a scope that is cancelled."""
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it never happened"
        await trio.lowlevel.cancel_shielded_checkpoint()


async def turns(count: int = 5) -> None:
    """Give the others some turns."""
    for _ in range(count):
        await trio.lowlevel.cancel_shielded_checkpoint()


def calls(file: AsyncFile, data: bytearray) -> dict[str, Callable[[], Awaitable[object]]]:
    """One of each call that a file takes, but for close."""
    return {
        "pwrite": lambda: file.pwrite(data, 0, fua=True),
        "pwrite of nothing": lambda: file.pwrite(b"", 0, fua=True),
        "pread_into": lambda: file.pread_into(data, 0),
        "pread": lambda: file.pread(1, 0),
        "pread of nothing": lambda: file.pread(0, 0),
        "flush": file.flush,
        "write_batch": lambda: file.write_batch([0], data),
        "read_batch": lambda: file.read_batch([0], data),
    }


class Call:
    """A call in a task and a scope of its own."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.result: object = None
        self.is_done = False

    async def run(self, call: Callable[[], Awaitable[object]]) -> None:
        with self.scope:
            self.result = await call()
        self.is_done = True

    @property
    def was_cancelled(self) -> bool:
        return self.is_done and self.scope.cancelled_caught


def begin(nursery: trio.Nursery, call: Callable[[], Awaitable[object]]) -> Call:
    """Let *call* run in *nursery*."""
    begun = Call()
    nursery.start_soon(begun.run, call)
    return begun


async def hold(
    nursery: trio.Nursery,
    faults: Faults,
    call: Callable[[], Awaitable[object]],
    count: int = 1,
) -> Call:
    """Begin *call*, and wait until *count* completions are held as a rule says."""
    begun = begin(nursery, call)
    await until(lambda: faults.are_held(count))
    assert not begun.is_done
    return begun
