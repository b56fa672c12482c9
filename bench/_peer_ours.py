"""Ours under asyncio, beside the others there: in the same tasks, by the same clock."""

from __future__ import annotations

import asyncio
from array import array
from functools import partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from fuaio.aio import BufferPool, open_async
from fuaio.bench._peer_asyncio import write_all_the_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fuaio.aio import AsyncFile
    from fuaio.bench._peer_task import Task

__all__ = ["under_asyncio", "under_asyncio_in_batches"]


def under_asyncio(engine: str, task: Task) -> int:
    """Await one `AsyncFile.pwrite` after the other in each of *depth* tasks."""
    return asyncio.run(_with_file(engine, task, _write_by_write))


def under_asyncio_in_batches(engine: str, task: Task) -> int:
    """Await one `AsyncFile.write_batch` of *depth* writes after the other."""
    return asyncio.run(_with_file(engine, task, _batch_by_batch))


async def _with_file(
    engine: str, task: Task, write: Callable[[Task, AsyncFile, BufferPool], Awaitable[int]]
) -> int:
    pool = BufferPool(task.depth, task.length)
    pool.memory[:] = bytes([task.work.fill]) * len(pool.memory)
    work = task.work
    async with open_async(
        work.path, "r+", engine=engine, direct=work.direct, depth=work.depth, pool=pool
    ) as file:
        return await write(task, file, pool)


async def _write_by_write(task: Task, file: AsyncFile, pool: BufferPool) -> int:
    return await write_all_the_time(task, partial(file.pwrite, pool[0], fua=True))


async def _batch_by_batch(task: Task, file: AsyncFile, pool: BufferPool) -> int:
    writes = 0
    task.begin()
    while (now := perf_counter()) < task.end:
        offsets = array("q", islice(task.offsets, task.depth))
        written = await file.write_batch(offsets, pool.memory, durable="fua")
        writes += written // task.length
        if task.work.latencies:
            task.latencies_s.append(perf_counter() - now)
    task.stop()
    return writes
