"""What the tests of files and their lifetime share: descriptors, children, interrupted calls."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from faults_table import HOLD, WRITE, Faults

from fuaio.aio import File
from fuaio.aio._core import lib


def descriptors() -> dict[int, str]:
    """The open descriptors of this process, and what each is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(Path("/proc/self/fd", name))
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


def aio_contexts() -> int:
    """How many contexts of Linux AIO this process has: each is mapped."""
    return Path("/proc/self/maps").read_text().count("/[aio]")


class LeftBySignalError(Exception):
    """What the signal handler of `leave_held_call` raises."""


def leave_held_write(file: File, data: bytearray, faults: Faults) -> None:
    """Write *data* durably, and leave the call by a signal: its completion is withheld."""
    faults.rule(WRITE, HOLD, nth=1 + len(faults.seen(WRITE)))
    leave_held_call(lambda: file.pwrite(data, 0, fua=True), faults)


def leave_held_call(call: Callable[[], object], faults: Faults, count: int = 1) -> None:
    """Leave *call* by a signal once *count* completions of it are withheld, as by a rule.

    For engines whose requests the kernel performs by itself; in the main thread only.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise LeftBySignalError

    def send() -> None:
        faults.wait_held(count)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, leave)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        call()
    except LeftBySignalError:
        return
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    raise AssertionError("the call returned though a completion was withheld")


def is_exported(data: bytearray) -> bool:
    """Whether somebody holds on to the memory of *data*."""
    try:
        data.append(0)
    except BufferError:
        return True
    data.pop()
    return False


class Waits:
    """Stands for `fuaio.aio._queue.lib`: *hook* runs where a wait of *function* ended in vain."""

    def __init__(self, function: str, hook: Callable[[], object]) -> None:
        self._function = function
        self._hook = hook

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 # what cffi's lib gives
        function = getattr(lib, name)
        if name != self._function:
            return function

        def call(*arguments: object) -> int:
            result = int(function(*arguments))
            if result == -errno.EINTR:
                self._hook()
            return result

        return call


class Interrupted:
    """Stands for `fuaio.aio._queue.lib`: a signal handler raises when *function* has returned."""

    def __init__(self, function: str) -> None:
        self._function = function

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 # what cffi's lib gives
        function = getattr(lib, name)
        if name != self._function:
            return function

        def call(*arguments: object) -> None:
            function(*arguments)
            raise LeftBySignalError

        return call
