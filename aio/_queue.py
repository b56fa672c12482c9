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
import logging
import os
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from fuaio.aio._batch import outcomes_of
from fuaio.aio._buffers import NOT_EXPORTED, address_of, exported, release
from fuaio.aio._core import ffi, lib
from fuaio.aio._engines import pool_refusal
from fuaio.aio._errors import ClosedError, DurabilityError
from fuaio.aio._once import bind, once
from fuaio.aio._statistics import Registered, Statistics, statistics_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from fuaio.aio._core import CData
    from fuaio.aio._pieces import Export

__all__ = ["Batch", "Call", "Queue", "close_left_over"]

_log = logging.getLogger("fuaio")

_SLICE_MS = 100
_EXIT_S = 10.0  # how long the end of the interpreter waits for the kernel

_live: weakref.WeakSet[Queue] = weakref.WeakSet()
_left_over: list[Queue] = []


class _Kind(NamedTuple):
    """What C offers for a call that may outlive its caller's patience."""

    abandon: Callable[[CData], bool]
    is_done: Callable[[CData], bool]
    free: Callable[[CData], None]


_READ = int(lib.FUAIO_READ)
bind(*(address_of(ffi.addressof(lib, f"fuaio_{name}")) for name in ("request_once", "loop_begin")))
_REQUEST, _SEVERAL = ffi.typeof("struct fuaio_request **"), ffi.typeof("struct fuaio_batch **")
_PIECES, _OUTCOMES = ffi.typeof("struct fuaio_pieces *"), ffi.typeof("struct fuaio_outcome *")
_WRONG = ffi.typeof("uint64_t *")
_ALONE = _Kind(lib.fuaio_request_abandon, lib.fuaio_request_is_done, lib.fuaio_request_free)
_BATCH = _Kind(lib.fuaio_batch_abandon, lib.fuaio_batch_is_done, lib.fuaio_batch_free)


class Call:
    """A call under way: the place that C keeps it in, and what it uses until it is done."""

    __slots__ = ("address", "c", "held", "kept", "kind", "pieces")

    def __init__(self, place: CData, kind: _Kind) -> None:
        self.c = place
        self.address = 0  # of the place, where `once` is called
        self.kind = kind
        self.held: tuple[CData, ...] = ()  # buffers
        self.pieces: Export | None = None  # of a batch; C writes to it until that is freed
        self.kept: object = None  # what else


class Batch(NamedTuple):
    """How the requests of a batch ended."""

    queue: Queue
    pieces: Export
    failed: int

    def failures(self) -> dict[int, Exception]:
        """Return what each request that failed would have raised, by its number."""
        return {
            number: self.queue.failure(
                -outcome.error, int(outcome.bytes), lost=outcome.lost_durability
            )
            for number, outcome in enumerate(outcomes_of(self.pieces))
            if outcome.error
        }


def _ask_registered(queue: CData, pool: CData | None) -> Registered:
    if pool is None:
        return Registered(buffers=False, why_not="the file was opened without a pool")
    answer = int(lib.fuaio_queue_pool_pinned(queue))
    if answer == 0:
        return Registered(buffers=False, why_not="only io_uring registers memory")
    return Registered(answer > 0, "" if answer > 0 else pool_refusal(-answer))


class Queue:
    """The requests of one open file. Takes over *fd*, *event_fd*, and the queue in *holder*."""

    def __init__(
        self, holder: CData, fd: int, name: str, event_fd: int = -1, pool: CData | None = None
    ) -> None:
        self._holder = holder
        self._queue: CData = holder[0]
        self.address = address_of(holder[0])  # of the queue in C
        self._fd = fd
        self._event_fd = event_fd
        self._pool = pool  # the engine takes it for mapped until it is closed
        self._registered = _ask_registered(self._queue, pool)
        if pool is not None:
            _log.debug("descriptor %d: pool: %s", fd, self._registered.why_not or "registered")
        self._process = lib.fuaio_process()
        self.name = name
        self.held: dict[int, object] = {}  # by a loop's tag what its request uses
        self._calls: set[Call] = set()  # all others: a signal may end their callers anywhere
        # Of these, those for one request of one buffer, not in use; a list would be resized.
        self._spare: deque[Call] = deque()
        self._abandoned: list[Call] = []
        _live.add(self)

    def __del__(self) -> None:
        """Free what would have been used again; stay as long as the kernel has something of it."""
        if not (self.is_closed or self.is_foreign or self.is_idle):
            _left_over.append(self)
            return
        for call in self._spare:
            if call.c[0]:
                call.kind.free(call.c[0])

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

    def statistics(self) -> Statistics:
        """Return what was counted and measured until now."""
        self.check_open()
        statistics: CData = ffi.new("struct fuaio_statistics *")
        if lib.fuaio_queue_statistics(self._queue, statistics) < 0:
            raise self.foreign()
        return statistics_of(statistics, self._registered)

    def run_once(self, op: int, fua: bool, offset: int, data: Buffer) -> int | None:
        """Run one request on *data* and wait; None where something is not aligned.

        If a signal handler raises meanwhile, the request goes on: its memory stays exported
        until its completion is seen by a later call, or by close.
        """
        if self._abandoned:
            self._sweep()
        try:
            call = self._spare.pop()
        except IndexError:
            call = self._begin(_REQUEST, _ALONE)
            call.address = address_of(call.c)
        try:
            done = once(self.address, op, fua, offset, data, call.address, call)
        except BaseException as error:
            self._let_go(call)
            if isinstance(error, NOT_EXPORTED):
                exported(data, writable=op == _READ)  # where it could not be, this says why
            raise
        if done and done < 0:
            return self._go_on(call, done)
        self._spare.append(call)
        if done is None:
            self.check_open()
        return done or 0

    def run(
        self, op: int, fua: bool, offset: int, iov: CData, count: int, buffers: tuple[CData, ...]
    ) -> int | None:
        """Run one request on several *buffers*, as `run_once` does on one."""
        if self._abandoned:
            self._sweep()
        call, error = self._begin(_REQUEST, _ALONE), ffi.new("int *")
        try:
            call.held = buffers
            call.c[0] = lib.fuaio_request_new(self._queue, op, fua, offset, iov, count, error)
            done = lib.fuaio_request_run(call.c[0]) if call.c[0] else error[0]
        except BaseException:
            self._let_go(call)
            raise
        return self._go_on(call, done)

    def _begin(self, place: CData, kind: _Kind) -> Call:
        call = Call(ffi.new(place), kind)
        self._calls.add(call)
        return call

    def run_batch(self, op: int, durable: int, pieces: Export) -> Batch | int:
        """Run the requests of *pieces* and wait until each is done.

        As with `run_once`, a signal handler that raises leaves what is in flight to the kernel.

        Returns:
            How they ended; or, where nothing began, the number of the piece that is not aligned
            or whose offset is negative.
        """
        batch, wrong = self.begin_batch(op, durable, pieces)
        try:
            if wrong is not None:
                return wrong
            failed = lib.fuaio_batch_run(batch.c[0])
            while failed == -errno.EINTR:  # a slice is over; Python looks at signals between two
                failed = lib.fuaio_batch_run(batch.c[0])
            if failed < 0:
                raise self.foreign()
            return Batch(self, pieces, int(failed))
        finally:
            self.end_batch(batch)

    def begin_batch(self, op: int, durable: int, pieces: Export) -> tuple[Call, int | None]:
        """Return a batch for `end_batch`, not begun; and the piece that is wrong, or None."""
        batch, wrong = self._begin(_SEVERAL, _BATCH), ffi.new(_WRONG)
        try:
            batch.pieces = pieces
            self.check_open()
            if self._abandoned:
                self._sweep()
            c = ffi.cast(_PIECES, pieces.pieces_at)
            outcomes = ffi.cast(_OUTCOMES, pieces.outcomes_at)
            error = lib.fuaio_batch_new(batch.c, self._queue, op, durable, c, outcomes, wrong)
            if error == -errno.ENOMEM:
                raise MemoryError(f"no memory for a batch of {pieces.count}")
            return batch, int(wrong[0]) if error else None
        except BaseException:
            self.end_batch(batch)
            raise

    def end_batch(self, batch: Call) -> None:
        """Begin no more of it; what it uses is let go once nothing of it is in flight."""
        self._let_go(batch)

    def _go_on(self, call: Call, done: int) -> int | None:
        """Wait for what is not done yet, and let go of it; *done* is the answer so far."""
        try:
            while done == -errno.EINTR:  # a slice is over; Python looks at signals between two
                done = lib.fuaio_request_run(call.c[0])
            if done >= 0:
                return int(done)
            if not call.c[0]:
                self.raise_not_begun(done)
                return None
            written = int(lib.fuaio_request_bytes(call.c[0]))
            lost = lib.fuaio_request_lost_durability(call.c[0])
            raise self.failure(-done, written, lost=lost)
        finally:
            self._let_go(call)

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
        # C has closed it. Where a signal comes between, who calls again is told so.
        fd, self._fd = self._fd, -1
        if rc == -errno.ECHILD:
            if fd >= 0:
                lib.fuaio_queue_close_in_child(self._queue)
            self._close_event_fd()
            return True
        self._sweep()
        self.held.clear()
        for call in [*self._calls]:  # those that a signal ended at an odd place
            self._end(call)
        self._pool = None
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
            failed = DurabilityError(
                code,
                f"{os.strerror(code)}: a flush or a durable write failed, now or before, so this "
                "file promises nothing any more; write again what matters to one opened anew",
                self.name,
            )
            failed.bytes_written = written
            return failed
        refused = OSError(code, os.strerror(code), self.name)
        # No class of ours: what the kernel said stays its own.
        vars(refused)["bytes_written"] = written
        return refused

    def _let_go(self, call: Call) -> None:
        if not call.c[0]:  # it never began, or is freed
            self._end(call)
            if call.pieces:
                call.pieces.release_latencies()
        elif call.kind.abandon(call.c[0]):
            self._free(call)
        else:
            self._abandoned.append(call)

    def _sweep(self) -> None:
        """Free what is done. Each is taken by one thread: others may be at it too."""
        still = []
        with suppress(IndexError):
            while True:
                call = self._abandoned.pop()
                if call.kind.is_done(call.c[0]):
                    self._free(call)
                else:
                    still.append(call)
        self._abandoned += still

    def _free(self, call: Call) -> None:
        # First, since Ctrl-C may come between, and whoever let go of it does so again.
        freed, call.c[0] = call.c[0], ffi.NULL
        call.kind.free(freed)
        self._end(call)
        if call.pieces:
            call.pieces.release_latencies()

    def _end(self, call: Call) -> None:
        """Give back the buffers of a call of which C has nothing any more."""
        # Who takes it out releases them: without the GIL, two at once would be one too many.
        try:
            self._calls.remove(call)
        except KeyError:
            return
        release(call.held)
        call.held, call.kept = (), None
        if call.pieces:
            call.pieces.release()

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
    queues = [*_live]
    try:
        for queue in queues:
            with suppress(OSError):  # it is closed all the same
                while not queue.close() and time.monotonic() < end:
                    pass
    finally:  # Ctrl-C may end this too
        for queue in queues:
            if not queue.is_closed:
                _keep_for_ever(queue)


def _keep_for_ever(queue: Queue) -> None:
    import ctypes  # only here: nothing else in this package needs it

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(queue))


atexit.register(_close_all)
