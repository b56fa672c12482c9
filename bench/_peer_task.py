"""What a Python peer works on: where to write, what, and how long."""

from __future__ import annotations

import itertools
import mmap
import os
import random
import resource
from time import perf_counter
from typing import TYPE_CHECKING

from fuaio.bench._peer import cpu_s, wait_for_release
from fuaio.bench._work import Answer, Pattern, behind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fuaio.bench._work import Work

__all__ = ["Task", "aligned_bytes"]

_MOST_OFFSETS = 1 << 16
_BYTES_HEADER = bytes.__basicsize__ - 1  # CPython's, before the payload


class Task:
    """The work of one job, as a Python program sees it."""

    def __init__(self, work: Work, job: int) -> None:
        self.work = work
        self.depth = work.depth
        self.length = work.block_bytes
        self.offsets = _offsets(work, job)
        self.latencies_s: list[float] = []
        self.end = 0.0
        self._begin = 0.0
        self._cpu_s = 0.0
        self._elapsed_s = 0.0

    def open(self, *, durable: bool) -> int:
        """Return a descriptor; with *durable* each write to it is, for who can pass no flag."""
        flags = os.O_RDWR | os.O_CLOEXEC
        flags |= os.O_DIRECT if self.work.direct else 0
        return os.open(self.work.path, flags | (os.O_DSYNC if durable else 0))

    def block(self) -> mmap.mmap:
        """Return a block in pages of its own."""
        block = mmap.mmap(-1, self.length)
        block[:] = bytes([self.work.fill]) * self.length
        return block

    def begin(self) -> None:
        """Wait until the round begins, and take the time."""
        wait_for_release()
        self._cpu_s = cpu_s(resource.RUSAGE_SELF)
        self._begin = perf_counter()
        self.end = self._begin + self.work.seconds

    def stop(self) -> None:
        """Take the time once all is written: to close a context can take a part of a round."""
        self._elapsed_s = perf_counter() - self._begin
        self._cpu_s = cpu_s(resource.RUSAGE_SELF) - self._cpu_s

    def check(self, written: int) -> None:
        """Raise OSError unless *written* is the whole block."""
        if written < 0:
            raise OSError(-written, os.strerror(-written))
        if written != self.length:
            raise OSError(f"{written} of {self.length} bytes were written")

    def answer(self, writes: int) -> Answer:
        """Return what was done between `begin` and `stop`."""
        return Answer(
            writes=writes,
            elapsed_s=self._elapsed_s,
            cpu_s=self._cpu_s,
            latencies_s=self.latencies_s,
        )


def _offsets(work: Work, job: int) -> Iterator[int]:
    """Return where to write next, for ever; writes in flight at once never meet."""
    if work.pattern is Pattern.APPEND:
        return behind(work)
    blocks = work.region_bytes // work.block_bytes
    count = min(blocks, _MOST_OFFSETS)
    if work.pattern is Pattern.RANDOM:
        numbers = random.Random(job).sample(range(blocks), count)
    else:
        first = blocks * job // work.jobs
        numbers = [(first + number) % blocks for number in range(blocks)]
    return itertools.cycle([number * work.block_bytes for number in numbers])


def aligned_bytes(fill: int, length: int, align: int = 512) -> bytes:
    """Return *length* bytes of *fill* whose payload lies at a multiple of *align*.

    For a library that takes nothing but ``bytes``, of which O_DIRECT asks an address that Python
    gives by chance only: so many are made that one has it.

    Raises:
        ValueError: None has.
    """
    made = []
    for number in range(4096):
        made.append(bytes([fill]) * length)
        if (id(made[-1]) + _BYTES_HEADER) % align == 0:
            return made[-1]
        made.append(bytes(16 * (number % 32)))  # so that the next does not lie like this one
    raise ValueError(f"no bytes object of {length} lies at a multiple of {align} bytes here")
