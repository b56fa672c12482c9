"""asyncio's loop, or one that does as it does, as `_loops.Loop` has it."""

from __future__ import annotations

import asyncio
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from fuaio.aio._loops import Answer

__all__ = ["AsyncioLoop"]

_AT_ONCE_MOST = 32  # requests that are done within their call before the loop gets a turn
_WITHOUT_A_TURN_S = 0.001

_T = TypeVar("_T")


class AsyncioLoop:
    """The loop that runs, for one file.

    Calls that are done at once do not give it a turn, but for the 32nd in a row and after a
    millisecond: what must not wait (a timeout, a cancel) waits so long.
    """

    first = None  # a cancel is thrown in where a task waits: there is nothing to look at

    def __init__(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self.answer: Callable[[], Answer[int]] = loop.create_future
        self.call_soon: Callable[..., object] = loop.call_soon
        self.call_from_anywhere: Callable[..., object] = loop.call_soon_threadsafe
        self.add_reader: Callable[..., object] = loop.add_reader
        self.remove_reader = loop.remove_reader
        self.is_closed = loop.is_closed
        self._is_running = loop.is_running
        self._at_once = 0  # calls done at once since the loop had a turn, and when the first was
        self._at_once_since = 0.0

    def is_here(self) -> bool:
        # A thread runs one loop at a time. get_running_loop asks the kernel for the process (3.11);
        # here a child, which has both as its parent left them, is told by its queue.
        return get_ident() == self._thread and self._is_running()

    def is_pause_due(self) -> bool:
        if not self._at_once:
            self._at_once_since = monotonic()
            self.call_soon(self._turned)
        self._at_once += 1
        return (
            self._at_once >= _AT_ONCE_MOST or monotonic() - self._at_once_since > _WITHOUT_A_TURN_S
        )

    def _turned(self) -> None:
        self._at_once = 0

    def pause(self) -> Awaitable[None]:
        return asyncio.sleep(0)

    async def close(self, waiting: Coroutine[object, object, None]) -> None:
        await waiting

    async def in_thread(
        self, function: Callable[[], _T], undo: Callable[[_T], object] | None = None
    ) -> _T:
        work = self._loop.run_in_executor(None, function)
        cancelled = None
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is None:
            return work.result()
        if undo and not work.cancelled() and work.exception() is None:
            undo(work.result())
        raise cancelled
