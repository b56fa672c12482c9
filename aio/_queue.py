"""One C queue, its descriptor, and every buffer that the kernel may still use.

Facts: a request that Python stopped waiting for (a signal handler raised) is still with the
kernel, which reads and writes its memory until the completion.

What this means here: buffers are registered before the request is submitted and released
only after the C queue says that it is done. A queue that cannot be closed from where it dies
goes to a list of this module, is tried again later, and outlives the interpreter if need be.
"""

from __future__ import annotations

import atexit
import errno
import os
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from fuaio.aio._buffers import release
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import ClosedError, DurabilityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuaio.aio._batch import Pieces
    from fuaio.aio._core import CData

__all__ = ["Batch", "Queue", "close_left_over"]

_SLICE_MS = 100
_EXIT_S = 10.0  # how long the end of the interpreter waits for the kernel

_live: weakref.WeakSet[Queue] = weakref.WeakSet()
_left_over: list[Queue] = []


class _Kind(NamedTuple):
    """What C offers for a call that may outlive its caller's patience."""

    abandon: Callable[[CData], bool]
    is_done: Callable[[CData], bool]
    free: Callable[[CData], None]


_REQUEST = ffi.typeof("struct fuaio_request **")
_ALONE = _Kind(lib.fuaio_request_abandon, lib.fuaio_request_is_done, lib.fuaio_request_free)
_BATCH = _Kind(lib.fuaio_batch_abandon, lib.fuaio_batch_is_done, lib.fuaio_batch_free)


class Batch(NamedTuple):
    """How the requests of a batch ended."""

    queue: Queue
    length: int
    failed: int
    outcomes: CData

    def failures(self) -> dict[int, Exception]:
        """Return what each request that failed would have raised, by its number."""
        if not self.failed:
            return {}
        return {
            number: self.queue.failure(
                -outcome.error, int(outcome.bytes), lost=outcome.lost_durability
            )
            for number, outcome in enumerate(self.outcomes)
            if outcome.error
        }


class Queue:
    """The requests of one open file. Takes over *fd*, *event_fd*, and the queue in *holder*."""

    def __init__(self, holder: CData, fd: int, name: str, event_fd: int = -1) -> None:
        self._holder = holder
        self._queue: CData = holder[0]
        self._fd = fd
        self._event_fd = event_fd
        self._process = lib.fuaio_process()
        self.name = name
        # By the place that C keeps a call in, or a loop's tag, the buffers that it uses.
        self.held: dict[CData | int, tuple[CData, ...]] = {}
        self._kept: dict[CData, tuple[CData, Pieces]] = {}  # what else a batch uses
        self._abandoned: list[tuple[CData, _Kind]] = []
        _live.add(self)

    @property
    def fd(self) -> int:
        """The descriptor; `ClosedError` once there is none."""
        self.check_open()
        return self._fd

    def check_open(self) -> None:
        """Raise `ClosedError` once the file is closed, and in a forked child."""
        if self._fd < 0:
            raise ClosedError(f"{self.name}: the file is closed")
        if self.is_foreign:
            raise self.foreign()

    @property
    def is_foreign(self) -> bool:
        """Whether this is a forked child, and the queue its parent's."""
        return bool(self._process != lib.fuaio_process())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight, not even a flush of the queue's own."""
        return not lib.fuaio_queue_in_flight(self._queue)

    @property
    def is_closed(self) -> bool:
        """Whether the descriptor is closed."""
        return self._fd < 0

    @property
    def c(self) -> CData:
        """The queue in C."""
        return self._queue

    @property
    def event_fd(self) -> int:
        """To which is added for each completion; -1: there is none."""
        return self._event_fd

    @property
    def write_flags(self) -> int:
        """The RWF_ flags that a write may carry to the engine."""
        flags = int(lib.fuaio_queue_write_flags(self._queue))
        if flags < 0:
            raise self.foreign()
        return flags

    def statistics(self) -> CData:
        """Return C's struct fuaio_statistics of now."""
        self.check_open()
        statistics: CData = ffi.new("struct fuaio_statistics *")
        if lib.fuaio_queue_statistics(self._queue, statistics) < 0:
            raise self.foreign()
        return statistics

    def run_once(self, op: int, fua: bool, offset: int, memory: CData) -> int | None:
        """Run one request on the exported *memory* and wait; None where something is not aligned.

        If a signal handler raises meanwhile, the request goes on: its memory stays exported
        until its completion is seen by a later call, or by close.
        """
        if self._abandoned:
            self._sweep()
        request = ffi.new(_REQUEST)
        # Before it is submitted, since a signal may end this call anywhere.
        self.held[request] = (memory,)
        try:
            done = lib.fuaio_request_once(
                self._queue, op, fua, offset, memory, len(memory), request
            )
        except BaseException:
            self._let_go(request, _ALONE)
            raise
        if done < 0:
            return self._go_on(request, done)
        self.held.pop(request, None)
        return int(done)

    def run(
        self, op: int, fua: bool, offset: int, iov: CData, count: int, buffers: tuple[CData, ...]
    ) -> int | None:
        """Run one request on several *buffers*, as `run_once` does on one."""
        if self._abandoned:
            self._sweep()
        request, error = ffi.new(_REQUEST), ffi.new("int *")
        self.held[request] = buffers
        try:
            request[0] = lib.fuaio_request_new(self._queue, op, fua, offset, iov, count, error)
            done = lib.fuaio_request_run(request[0]) if request[0] else error[0]
        except BaseException:
            self._let_go(request, _ALONE)
            raise
        return self._go_on(request, done)

    def run_batch(self, op: int, durable: int, pieces: Pieces) -> Batch | int:
        """Run the requests of *pieces* and wait until each is done.

        As with `run_once`, a signal handler that raises leaves what is in flight to the kernel.

        Returns:
            How they ended; or, where nothing began, the number of the piece that is not aligned
            or whose offset is negative.
        """
        batch, outcomes = self.begin_batch(op, durable, pieces)
        try:
            if isinstance(outcomes, int):
                return outcomes
            failed = lib.fuaio_batch_run(batch[0])
            while failed == -errno.EINTR:  # a slice is over; Python looks at signals between two
                failed = lib.fuaio_batch_run(batch[0])
            if failed < 0:
                raise self.foreign()
            return Batch(self, pieces.length, int(failed), outcomes)
        finally:
            self.end_batch(batch)

    def begin_batch(self, op: int, durable: int, pieces: Pieces) -> tuple[CData, CData | int]:
        """Return a batch for `end_batch`, not begun; its outcomes, or the piece that is wrong."""
        self.check_open()
        if self._abandoned:
            self._sweep()
        outcomes = ffi.new("struct fuaio_outcome[]", pieces.total)
        batch, wrong = ffi.new("struct fuaio_batch **"), ffi.new("uint64_t *")
        self.held[batch] = pieces.held
        self._kept[batch] = (outcomes, pieces)
        try:
            error = lib.fuaio_batch_new(batch, self._queue, op, durable, pieces.c, outcomes, wrong)
            if error == -errno.ENOMEM:
                raise MemoryError(f"no memory for a batch of {pieces.total}")
            return batch, int(wrong[0]) if error else outcomes
        except BaseException:
            self.end_batch(batch)
            raise

    def end_batch(self, batch: CData) -> None:
        """Begin no more of it; what it uses is let go once nothing of it is in flight."""
        self._let_go(batch, _BATCH)

    def _go_on(self, request: CData, done: int) -> int | None:
        """Wait for what is not done yet, and let go of it; *done* is the answer so far."""
        try:
            while done == -errno.EINTR:  # a slice is over; Python looks at signals between two
                done = lib.fuaio_request_run(request[0])
            if done >= 0:
                return int(done)
            if not request[0]:
                self.raise_not_begun(done)
                return None
            written = int(lib.fuaio_request_bytes(request[0]))
            lost = lib.fuaio_request_lost_durability(request[0])
            raise self.failure(-done, written, lost=lost)
        finally:
            self._let_go(request, _ALONE)

    def raise_not_begun(self, code: int) -> None:
        """Raise why nothing began; return where something is not aligned."""
        if code == -errno.ENOMEM:
            raise MemoryError("no memory for a request")
        if code != -errno.EINVAL:  # that is: not aligned
            raise self.foreign()

    def close(self, wait_ms: int = _SLICE_MS) -> bool:
        """Wait at most *wait_ms* for what is in flight; True once the descriptor is closed.

        Raises:
            OSError: The kernel's answer to closing the descriptor, which is closed all the same.
        """
        rc = lib.fuaio_queue_close(self._queue, wait_ms)
        if rc == -errno.EINTR:
            return False
        fd, self._fd = self._fd, -1  # C has closed it: no signal can come between
        if rc == -errno.ECHILD:
            if fd >= 0:
                lib.fuaio_queue_close_in_child(self._queue)
            self._close_event_fd()
            return True
        self._sweep()
        with suppress(KeyError):
            while True:  # of calls that a signal ended at an odd place
                release(self.held.popitem()[1])
        self._kept.clear()  # who still has to end a batch has its own hold of that
        self._close_event_fd()  # until now somebody might have written to it
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc), self.name)
        return True

    def _close_event_fd(self) -> None:
        event_fd, self._event_fd = self._event_fd, -1
        if event_fd >= 0:
            os.close(event_fd)

    def leave_over(self) -> None:
        """Called where the last user of the file is gone: close it now or, in flight, later."""
        if not self.close(0) and self not in _left_over:
            _left_over.append(self)

    def failure(self, code: int, written: int, *, lost: bool) -> Exception:
        """Return what a request that answered *code* raises."""
        if code == errno.ECHILD:
            return self.foreign()
        if code == errno.ESHUTDOWN:
            return ClosedError(
                f"{self.name}: the file {'is closed' if self._fd < 0 else 'was closed meanwhile'}"
            )
        if lost:
            failed = DurabilityError(code, f"a flush failed: {os.strerror(code)}", self.name)
            failed.bytes_written = written
            return failed
        refused = OSError(code, os.strerror(code), self.name)
        # No class of ours: what the kernel said stays its own.
        vars(refused)["bytes_written"] = written
        return refused

    def _let_go(self, call: CData, kind: _Kind) -> None:
        if not call[0]:  # it never began, or is freed
            release(self.held.pop(call, ()))
            self._drop_kept(call)
        elif kind.abandon(call[0]):
            self._free(call, kind)
        else:
            self._abandoned.append((call, kind))

    def _sweep(self) -> None:
        """Free what is done. Each is taken by one thread: others may be at it too."""
        still = []
        with suppress(IndexError):
            while True:
                call, kind = self._abandoned.pop()
                if kind.is_done(call[0]):
                    self._free(call, kind)
                else:
                    still.append((call, kind))
        self._abandoned += still

    def _free(self, call: CData, kind: _Kind) -> None:
        # Who takes them out releases them: without the GIL, two at once would be one too many.
        held = self.held.pop(call, ())
        # First, since Ctrl-C may come between, and whoever let go of it does so again.
        freed, call[0] = call[0], ffi.NULL
        kind.free(freed)
        release(held)
        self._drop_kept(call)

    def _drop_kept(self, call: CData) -> None:
        kept = self._kept.pop(call, None)
        if kept is not None:
            release(kept[1].latencies)

    def foreign(self) -> ClosedError:
        """Return what a forked child gets."""
        return ClosedError(
            f"{self.name}: opened by another process; a forked child must open the file itself"
        )


def close_left_over() -> None:
    """Close the queues of files dropped with requests in flight, where these are done now."""
    for queue in _left_over[:]:
        if queue.close(0):
            with suppress(ValueError):  # another thread was quicker
                _left_over.remove(queue)


def _close_all() -> None:
    """At the end of the interpreter wait for the kernel; leave to it what does not come back."""
    end = time.monotonic() + _EXIT_S
    for queue in [*_live]:
        while not queue.close():
            if time.monotonic() >= end:
                _keep_for_ever(queue)
                break


def _keep_for_ever(queue: Queue) -> None:
    import ctypes  # only here: nothing else in this package needs it

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(queue))


atexit.register(_close_all)
