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
from typing import TYPE_CHECKING

from fuaio.aio._buffers import release
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import ClosedError, DurabilityError

if TYPE_CHECKING:
    from fuaio.aio._core import CData

__all__ = ["Queue", "close_left_over"]

_SLICE_MS = 100
_EXIT_S = 10.0  # how long the end of the interpreter waits for the kernel

_live: weakref.WeakSet[Queue] = weakref.WeakSet()
_left_over: list[Queue] = []


class Queue:
    """The requests of one open file. Takes over *fd*, and the queue in *holder*."""

    def __init__(self, holder: CData, fd: int, name: str) -> None:
        self._holder = holder
        self._queue: CData = holder[0]
        self._fd = fd
        self._pid = os.getpid()
        self.name = name
        self._held: dict[CData, tuple[CData, ...]] = {}
        self._abandoned: list[CData] = []
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
        if self._pid != os.getpid():
            raise self._foreign()

    @property
    def write_flags(self) -> int:
        """The RWF_ flags that a write may carry to the engine."""
        flags = int(lib.fuaio_queue_write_flags(self._queue))
        if flags < 0:
            raise self._foreign()
        return flags

    def run(
        self, op: int, fua: bool, offset: int, iov: CData, count: int, buffers: tuple[CData, ...]
    ) -> int | None:
        """Run one request on the exported *buffers* and wait; None where something is not aligned.

        If a signal handler raises meanwhile, the request goes on: its buffers stay exported
        until its completion is seen by a later call, or by close.
        """
        if self._abandoned:
            self._sweep()
        error = ffi.new("int *")
        try:
            request = lib.fuaio_request_new(self._queue, op, fua, offset, iov, count, error)
        except BaseException:  # an argument that is no C integer
            release(buffers)
            raise
        if not request:
            release(buffers)
            if error[0] == -errno.EINVAL:
                return None
            raise MemoryError(f"no memory for a request of {count} buffers")
        self._held[request] = buffers
        try:
            result = lib.fuaio_request_run(request)
            while result == -errno.EINTR:  # a slice is over; Python looks at signals between two
                result = lib.fuaio_request_run(request)
            if result < 0:
                raise self._failure(request, -result)
            return int(result)
        finally:
            self._let_go(request)

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
            return True
        self._sweep()
        with suppress(KeyError):
            while True:  # of calls that a signal ended at an odd place
                release(self._held.popitem()[1])
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc), self.name)
        return True

    def leave_over(self) -> None:
        """Called where the last user of the file is gone: close it now or, in flight, later."""
        if not self.close(0):
            _left_over.append(self)

    def _let_go(self, request: CData) -> None:
        if lib.fuaio_request_abandon(request):
            self._free(request)
        else:
            self._abandoned.append(request)

    def _sweep(self) -> None:
        """Free what is done. Each is taken by one thread: others may be at it too."""
        still = []
        with suppress(IndexError):
            while True:
                request = self._abandoned.pop()
                if lib.fuaio_request_is_done(request):
                    self._free(request)
                else:
                    still.append(request)
        self._abandoned += still

    def _free(self, request: CData) -> None:
        # Who takes them out releases them: without the GIL, two at once would be one too many.
        release(self._held.pop(request, ()))
        lib.fuaio_request_free(request)

    def _failure(self, request: CData, code: int) -> Exception:
        if code == errno.ECHILD:
            return self._foreign()
        if code == errno.ESHUTDOWN:
            return ClosedError(f"{self.name}: the file was closed meanwhile")
        written = int(lib.fuaio_request_bytes(request))
        if lib.fuaio_request_lost_durability(request):
            lost = DurabilityError(code, f"a flush failed: {os.strerror(code)}", self.name)
            lost.bytes_written = written
            return lost
        failed = OSError(code, os.strerror(code), self.name)
        # No class of ours: what the kernel said stays its own.
        vars(failed)["bytes_written"] = written
        return failed

    def _foreign(self) -> ClosedError:
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
