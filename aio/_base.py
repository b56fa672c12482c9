"""What a file is, however it is asked: its engine, its alignment, how a write becomes durable."""

from __future__ import annotations

import fcntl
import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from fuaio.aio._batch import place_of_piece
from fuaio.aio._core import lib
from fuaio.aio._errors import AlignmentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fuaio.aio._core import CData
    from fuaio.aio._pieces import Export
    from fuaio.aio._queue import Queue
    from fuaio.aio._statistics import Statistics

__all__ = ["NEGATIVE", "READ", "WRITE", "BaseFile", "Fua"]

READ, WRITE = int(lib.FUAIO_READ), int(lib.FUAIO_WRITE)
NEGATIVE = "offset {} is negative; count from the start of the file"

_BLKGETSIZE64 = 0x80081272  # Linux uapi/linux/fs.h, for 64-bit


class Fua(StrEnum):
    """How a `File` makes a write with ``fua=True`` durable; not what reaches the medium."""

    NATIVE = "native"
    """One request that carries ``RWF_DSYNC``."""

    EMULATED = "emulated"
    """A write and then a flush; concurrent writes share flushes."""

    NONE = "none"
    """In vain: tmpfs and ramfs hold nothing that outlives a power cut."""


class BaseFile:
    """What `File` and `AsyncFile` have in common."""

    _closed = True  # until it is whole: nothing to close if a signal ends its making

    def __init__(self, queue: Queue, engine: str, facts: CData, *, direct: bool) -> None:
        self._queue = queue
        self._engine = engine
        self._facts = facts
        self._direct = direct
        self._closed = False

    @property
    def engine(self) -> str:
        """``io_uring``, ``linux_aio`` or ``threads``."""
        return self._engine

    @property
    def can_fua(self) -> Fua:
        """How this file makes a write with ``fua=True`` durable."""
        if self._facts.memory_only:
            return Fua.NONE
        return Fua.NATIVE if self.supported_write_flags else Fua.EMULATED

    @property
    def supported_write_flags(self) -> int:
        """The RWF_ flags that writes here can carry to the kernel: ``os.RWF_DSYNC`` or 0."""
        return self._queue.write_flags

    @property
    def memory_align(self) -> int:
        """What the address of a buffer must be a multiple of, in bytes; 1 without ``O_DIRECT``."""
        return int(self._facts.memory_align)

    @property
    def offset_align(self) -> int:
        """What offsets and lengths must be multiples of, in bytes; 1 without ``O_DIRECT``."""
        return int(self._facts.offset_align)

    @property
    def size(self) -> int:
        """The size now, in bytes; of a block device its capacity."""
        if self._facts.block_device:
            answer = fcntl.ioctl(self._queue.fd, _BLKGETSIZE64, bytes(8))
            return int.from_bytes(answer, sys.byteorder)
        return os.fstat(self._queue.fd).st_size

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def statistics(self) -> Statistics:
        """Return what was counted and measured on this file since it was opened.

        Raises:
            ClosedError: The file is closed.
        """
        return self._queue.statistics()

    def fileno(self) -> int:
        """Return the descriptor, which stays this object's to close."""
        return self._queue.fd

    def __reduce__(self) -> NoReturn:
        """Refuse: neither copy nor pickle can give anybody else what is in flight."""
        raise TypeError(f"cannot copy or pickle {self!r}: open {self._queue.name} again")

    def __repr__(self) -> str:
        """Name, engine and state."""
        state = "closed" if self._closed else f"direct={self._direct}"
        return f"<fuaio.aio.{type(self).__name__} {self._queue.name} {self._engine} {state}>"

    def _piece_refused(self, number: int, pieces: Export) -> ValueError:
        """Return why request *number* of a batch cannot begin."""
        offset, address, length = place_of_piece(pieces, number)
        if offset < 0:
            return ValueError(f"request {number}: {NEGATIVE.format(offset)}")
        why = self._misalignment([(address, length)], offset)
        return AlignmentError(f"request {number}: {why}")

    def _misalignment(self, places: Iterable[tuple[int, int]], offset: int) -> str:
        """Return what is not aligned of *offset* and buffers, each an address and a length."""
        memory, step = self.memory_align, self.offset_align
        needed = f"O_DIRECT on {self._queue.name} needs"
        if offset % step:
            return f"offset {offset}: {needed} a multiple of {step} bytes"
        for number, (address, length) in enumerate(places):
            if length % step:
                return f"length {length} of buffer {number}: {needed} a multiple of {step} bytes"
            if address % memory:
                return (
                    f"address {address:#x} of buffer {number}: {needed} a multiple of {memory} "
                    "bytes; aligned_buffer() gives such memory"
                )
        return f"{needed} aligned requests"
