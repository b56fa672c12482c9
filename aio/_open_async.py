"""`open_async`: from a path to a file for an event loop, on the engine that suits it.

Facts: a thread cannot be cancelled. What it does to a descriptor it does to whatever file has
that number by then; a file that was created and is unlinked later may be another one by then.

What this means here: who cancels waits until the thread has done its part, and then it is undone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fuaio.aio._async_file import AsyncFile, close_dropped
from fuaio.aio._loops import running_loop
from fuaio.aio._open import ask, begin, check_arguments, open_any, queue_for, undo
from fuaio.aio._pool import exported_pool
from fuaio.aio._queue import Queue, close_left_over

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from fuaio.aio._open import Path
    from fuaio.aio._pool import BufferPool

__all__ = ["open_async"]


def open_async(
    path: Path | int,
    mode: str = "r",
    *,
    engine: str = "auto",
    direct: bool = False,
    depth: int = 32,
    pool: BufferPool | None = None,
) -> _Opening:
    """Open a file or block device as `open_file` does, for the event loop that runs.

        async with open_async(path, "r+") as file:
            await file.pwrite(data, 0, fua=True)

    To be awaited for an `AsyncFile`, or entered. What may wait for a disk runs in a thread. The
    threads engine has threads of its own: nothing of it runs in the loop's. Linux AIO, where it
    is named for a file of the page cache, writes inside io_submit and keeps the loop waiting.

    If it is cancelled, what it has created is removed and its descriptor closed before the cancel
    is seen; that waits for the thread.
    """
    return _Opening(path, mode, engine, direct, depth, pool)


class _Opening:
    """What `open_async` returns."""

    def __init__(
        self,
        path: Path | int,
        mode: str,
        engine: str,
        direct: bool,
        depth: int,
        pool: BufferPool | None,
    ) -> None:
        self._arguments = (path, mode, engine, direct, depth, pool)
        self._file: AsyncFile | None = None

    def __await__(self) -> Generator[object, None, AsyncFile]:
        return _open(*self._arguments).__await__()

    async def __aenter__(self) -> AsyncFile:
        self._file = await self
        return self._file

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            await self._file.close()


async def _open(
    path: Path | int,
    mode: str,
    engine: str,
    direct: bool,
    depth: int,
    pool: BufferPool | None,
) -> AsyncFile:
    flags = check_arguments(mode, engine, depth)
    loop = running_loop()
    close_left_over()
    close_dropped()
    memory = exported_pool(pool)
    opened = await loop.in_thread(lambda: open_any(path, flags, direct), undo)
    made, event_fd = None, -1
    try:
        facts = ask(opened)
        event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        made = queue_for(engine, opened.fd, depth, facts, event_fd, memory)
        await loop.in_thread(lambda: begin(opened, facts, flags, mode))
    except BaseException as error:
        made = None
        if event_fd >= 0:
            os.close(event_fd)
        if not isinstance(error, GeneratorExit):
            undo(opened)
        raise  # else the loop itself is gone, and the thread goes on: its descriptor stays open
    queue, engine = made
    made_queue = Queue(queue, opened.fd, opened.name, event_fd, memory)
    return AsyncFile(made_queue, engine, facts, loop, direct=direct)
