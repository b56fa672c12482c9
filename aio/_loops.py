"""The event loop that runs, asyncio's or trio's, as an `AsyncFile` needs it.

Facts: what asyncio and trio have in common is little: one task waits for one answer, a callback
runs at the end of this turn or when a descriptor is readable. A cancel differs: asyncio throws it
in once, and a call that need not wait may not see it; in trio it stays, and every call looks at it.

What this means here: a file knows its loop by the names below alone, and each of the two has a
module, which is imported where that loop runs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

__all__ = ["Answer", "Loop", "running_loop"]

_T = TypeVar("_T")
_AnswerT = TypeVar("_AnswerT")


class Answer(Protocol[_AnswerT]):
    """What one task waits for, and what may come after that was cancelled."""

    def done(self) -> bool:
        """Whether it was answered or its task was cancelled."""
        ...

    def set_result(self, result: _AnswerT, /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...

    def __await__(self) -> Generator[object, None, _AnswerT]: ...


class Loop(Protocol):
    """One file's view of the loop that opened it."""

    def answer(self) -> Answer[int]:
        """Return a new one."""
        ...

    @property
    def first(self) -> Callable[[], Awaitable[None]] | None:
        """What each call awaits before it begins anything: whether it is cancelled already."""
        ...

    def pause(self) -> Awaitable[None]:
        """Give the others a turn; a result that is there already cannot be lost by it."""
        ...

    def is_here(self) -> bool:
        """Whether this is the loop that runs, and the thread that it ran in from the start."""
        ...

    def is_closed(self) -> bool:
        """Whether it will never run again."""
        ...

    def is_pause_due(self) -> bool:
        """Whether a call that is done at once should `pause` before it returns."""
        ...

    def call_soon(self, callback: Callable[..., None], /, *arguments: object) -> object:
        """Call it once all who can run now have done so."""
        ...

    def call_from_anywhere(self, callback: Callable[..., None], /, *arguments: object) -> object:
        """Call it soon, asked by another thread, or by the collector of garbage at any place.

        Raises:
            RuntimeError: The loop is closed.
        """
        ...

    def add_reader(self, fd: int, callback: Callable[..., None], /, *arguments: object) -> object:
        """Call it whenever *fd* is readable."""
        ...

    def remove_reader(self, fd: int, /) -> object:
        """Do that no more. After it, *fd* may be closed."""
        ...

    async def close(self, waiting: Coroutine[object, object, None]) -> None:
        """Run what a close waits for, as the loop's rules for a cancelled close ask."""
        ...

    async def in_thread(
        self, function: Callable[[], _T], undo: Callable[[_T], object] | None = None
    ) -> _T:
        """Run *function* in a thread to its end; what it made is undone if a cancel wins.

        Only where the loop itself is gone, `GeneratorExit` comes while the thread goes on.
        """
        ...


def running_loop() -> Loop:
    """Return the loop that runs this.

    Raises:
        RuntimeError: None does.
    """
    # Who runs in trio has imported it; who does not pays nothing for it.
    if "trio" in sys.modules:
        from fuaio.aio import _loop_trio

        if _loop_trio.is_running():
            return _loop_trio.TrioLoop.of_this_run()
    from fuaio.aio import _loop_asyncio

    return _loop_asyncio.AsyncioLoop()
