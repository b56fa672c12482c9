"""Peers under asyncio: ``depth`` tasks, each of which awaits one write after the other.

Where a library takes no flags, its descriptor is opened with O_DSYNC, which is the same promise.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fuaio.bench._peer_task import aligned_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fuaio.bench._peer_task import Task

__all__ = [
    "aiofile",
    "aiofiles",
    "asyncio_threads",
    "caio_linux",
    "caio_uring",
    "pyaio",
    "write_all_the_time",
]


def asyncio_threads(task: Task) -> int:
    """os.pwritev with RWF_DSYNC in a pool of *depth* threads."""
    fd = task.open(durable=False)
    blocks = [task.block()]

    async def run() -> int:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(task.depth) as pool:
            return await write_all_the_time(
                task,
                lambda offset: loop.run_in_executor(
                    pool, os.pwritev, fd, blocks, offset, os.RWF_DSYNC
                ),
            )

    return asyncio.run(run())


def caio_uring(task: Task) -> int:
    """Use caio on io_uring; see `_caio_context`."""
    return asyncio.run(_caio(task, "uring"))


def caio_linux(task: Task) -> int:
    """Use caio on Linux AIO, with what is ready at once submitted at once."""
    return asyncio.run(_caio(task, "linux"))


async def _caio(task: Task, implementation: str) -> int:
    fd = task.open(durable=True)
    block = aligned_bytes(task.work.fill, task.length)
    async with _caio_context(task, implementation) as context:
        return await write_all_the_time(task, lambda offset: context.write(block, fd, offset))


def _caio_context(task: Task, implementation: str) -> Any:  # noqa: ANN401 # of either module
    """Return a context; on io_uring without the polling thread that it has unless told otherwise.

    That thread and the program, pinned to one processor, are in each other's way: hundreds of
    writes a second instead of thousands.
    """
    deferred = task.depth > 1
    if implementation == "uring":
        from caio.linux_uring_asyncio import AsyncioContext as UringContext

        return UringContext(max_requests=task.depth, deferred=deferred, sqpoll=False)
    from caio.linux_aio_asyncio import AsyncioContext as AioContext

    return AioContext(max_requests=task.depth, deferred=deferred)


def aiofile(task: Task) -> int:
    """AIOFile, which takes offsets, over the context of caio that is above."""

    async def run() -> int:
        from aiofile import AIOFile

        block = aligned_bytes(task.work.fill, task.length)
        with open(task.open(durable=True), "r+b", buffering=0) as raw:
            async with _caio_context(task, "uring") as context:
                file = AIOFile.from_fp(raw, context=context)
                return await write_all_the_time(task, lambda offset: file.write(block, offset))

    return asyncio.run(run())


def aiofiles(task: Task) -> int:
    """A file for each task, since it has a position and no write at an offset; unbuffered."""

    async def run() -> int:
        import aiofiles as library

        block = task.block()
        with ThreadPoolExecutor(task.depth) as pool:
            files = [
                await library.open(
                    task.work.path,
                    "r+b",
                    buffering=0,
                    opener=lambda _path, _flags: task.open(durable=True),
                    executor=pool,
                )
                for _ in range(task.depth)
            ]
            free = list(files)

            async def write(offset: int) -> int:
                file = free.pop()
                await file.seek(offset)
                written: int = await file.write(block)
                free.append(file)
                return written

            writes = await write_all_the_time(task, write)
            for file in files:
                await file.close()
            return writes

    return asyncio.run(run())


def pyaio(task: Task) -> int:
    """UringIO, which submits at once what tasks ask for in one turn of the loop."""

    async def run() -> int:
        from pyaio.uring import UringIO

        fd = task.open(durable=True)
        block = task.block()
        async with UringIO(entries=task.depth) as ring:
            return await write_all_the_time(task, lambda offset: ring.write(fd, block, offset))

    return asyncio.run(run())


async def write_all_the_time(task: Task, write: Callable[[int], Awaitable[int]]) -> int:
    """Keep *depth* writes in flight until the time is over; return how many there were."""

    async def one_after_the_other() -> int:
        writes = 0
        while (now := perf_counter()) < task.end:
            task.check(await write(next(task.offsets)))
            writes += 1
            if task.work.latencies:
                task.latencies_s.append(perf_counter() - now)
        return writes

    await write(next(task.offsets))  # threads start, and what is made at the first use
    task.begin()
    writes = await asyncio.gather(*(one_after_the_other() for _ in range(task.depth)))
    task.stop()
    return sum(writes)
