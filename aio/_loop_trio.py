"""A run of trio, as `_loops.Loop` has it.

Facts: every call of trio's is a checkpoint: it looks whether it is cancelled before it begins, and
gives the others a turn before it returns. What has come to its end returns, cancelled or not. One
task at a time may wait for a descriptor, and who closes that must have taken the task away. System
tasks need no nursery of the caller's; they are cancelled when the main task has ended, and one
that raises ends the whole run. The collector of garbage may be at work inside the scheduler.

What this means here: one system task makes the calls that were asked for, and one for each
descriptor waits until it is readable. Their end is the end of the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio
from outcome import Error, Value
from trio.lowlevel import (
    Abort,
    RunVar,
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    current_trio_token,
    reschedule,
    spawn_system_task,
    wait_readable,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from outcome import Outcome
    from trio.lowlevel import RaiseCancelT, Task

    from fuaio.aio._loops import Answer

__all__ = ["TrioLoop", "is_running"]

_T = TypeVar("_T")


def is_running() -> bool:
    """Whether this is called by a task of trio's."""
    try:
        current_task()
    except RuntimeError:
        return False
    return True


class _Answer(Generic[_T]):
    """`_loops.Answer`. A cancelled task does not wait any more; its request goes on."""

    __slots__ = ("_is_done", "_outcome", "_task")

    def __init__(self) -> None:
        self._is_done = False
        self._outcome: Outcome[_T] | None = None
        self._task: Task | None = None

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: _T, /) -> None:
        self._end(Value(result))

    def set_exception(self, error: Exception, /) -> None:
        self._end(Error(error))

    def _end(self, outcome: Outcome[_T]) -> None:
        self._is_done, self._outcome = True, outcome
        if self._task is not None:
            reschedule(self._task, outcome)

    def __await__(self) -> Generator[object, None, _T]:
        return self._wait().__await__()

    async def _wait(self) -> _T:
        if self._outcome is not None:
            return self._outcome.unwrap()
        self._task = current_task()
        result: _T = await wait_task_rescheduled(self._cancelled)
        return result

    def _cancelled(self, raise_cancel: RaiseCancelT) -> Abort:
        self._is_done, self._task = True, None
        return Abort.SUCCEEDED


class TrioLoop:
    """One run, for all its files."""

    first = staticmethod(checkpoint_if_cancelled)
    pause = staticmethod(cancel_shielded_checkpoint)

    def __init__(self) -> None:
        self._token = current_trio_token()
        self._is_closed = False
        self._soon: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._parked: Task | None = None  # the system task, where it has nothing to call
        self._readers: dict[int, trio.CancelScope] = {}
        self.call_from_anywhere: Callable[..., None] = self._token.run_sync_soon
        spawn_system_task(self._serve)

    @classmethod
    def of_this_run(cls) -> TrioLoop:
        """Return that of the run that calls; all its files share one."""
        try:
            return _of_run.get()
        except LookupError:
            _of_run.set(loop := cls())
            return loop

    def answer(self) -> Answer[int]:
        return _Answer()

    def is_here(self) -> bool:
        try:
            return current_trio_token() is self._token and not self._is_closed
        except RuntimeError:
            return False

    def is_closed(self) -> bool:
        return self._is_closed

    def is_pause_due(self) -> bool:
        return True

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        self._soon.append((callback, arguments))
        if self._parked is not None:
            reschedule(self._parked)
            self._parked = None

    async def _serve(self) -> None:
        try:
            while True:
                if self._soon:
                    await checkpoint()
                else:
                    self._parked = current_task()
                    await wait_task_rescheduled(self._unparked)
                soon, self._soon = self._soon, []
                for callback, arguments in soon:
                    callback(*arguments)
        finally:
            self._is_closed = True

    def _unparked(self, raise_cancel: RaiseCancelT) -> Abort:
        self._parked = None
        return Abort.SUCCEEDED

    def add_reader(self, fd: int, callback: Callable[..., None], *arguments: object) -> None:
        scope = self._readers[fd] = trio.CancelScope()
        spawn_system_task(self._watch, scope, fd, callback, arguments)

    def remove_reader(self, fd: int) -> None:
        self._readers.pop(fd).cancel()  # which takes the task away from the descriptor at once

    async def _watch(
        self,
        scope: trio.CancelScope,
        fd: int,
        callback: Callable[..., None],
        arguments: tuple[object, ...],
    ) -> None:
        with scope:
            # Where it was cancelled, the descriptor may be closed, or another's.
            while not scope.cancel_called:
                await wait_readable(fd)
                if not scope.cancel_called:
                    callback(*arguments)

    async def close(self, waiting: Coroutine[object, object, None]) -> None:
        """As trio closes its own files: to the end, and then a cancel is seen."""
        with trio.CancelScope(shield=True):
            await waiting
        await checkpoint()

    async def in_thread(
        self, function: Callable[[], _T], undo: Callable[[_T], object] | None = None
    ) -> _T:
        """A cancel is seen before the thread begins or not at all, so there is nothing to undo."""
        return await trio.to_thread.run_sync(function)


_of_run: RunVar[TrioLoop] = RunVar("fuaio.aio")
