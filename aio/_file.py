"""`File`: durable reads and writes at offsets, one call a request."""

from __future__ import annotations

import fcntl
import os
import sys
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from fuaio.aio._buffers import aligned_buffer, exported_all
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import AlignmentError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Buffer

    from fuaio.aio._core import CData
    from fuaio.aio._queue import Queue

__all__ = ["File", "Fua"]


_BLKGETSIZE64 = 0x80081272  # Linux uapi/linux/fs.h, for 64-bit


class Fua(StrEnum):
    """How a `File` makes a write with ``fua=True`` durable; not what reaches the medium."""

    NATIVE = "native"
    """One request that carries ``RWF_DSYNC``."""

    EMULATED = "emulated"
    """A write and then a flush; concurrent writes share flushes."""

    NONE = "none"
    """In vain: tmpfs and ramfs hold nothing that outlives a power cut."""


class File:
    """An open file or block device. Made by `open_file`; may be used from several threads.

    A child made by fork gets `ClosedError` from everything but `close`.
    """

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

    def fileno(self) -> int:
        """Return the descriptor, which stays this object's to close."""
        return self._queue.fd

    def pread(self, length: int, offset: int) -> bytes:
        """Return *length* bytes from *offset*; fewer only at the end of the file.

        Raises:
            AlignmentError: Under ``O_DIRECT``; nothing was submitted.
            OSError: The kernel's.
        """
        if length < 0:
            raise ValueError(f"length {length} is negative")
        buffer = aligned_buffer(length) if self._direct and length else bytearray(length)
        # No `with`: a view cannot be released while the kernel has it, which Ctrl-C may leave so.
        return bytes(memoryview(buffer)[: self.pread_into(buffer, offset)])

    def pread_into(self, buffer: Buffer, offset: int) -> int:
        """Read into *buffer* from *offset* until it is full or the file ends.

        The kernel writes into *buffer* until the call returns. If a signal handler raises
        (Ctrl-C), it may go on: the buffer cannot be resized until the completion is seen.

        Args:
            buffer: Writable and C-contiguous. Under ``O_DIRECT`` its address is a multiple of
                `memory_align`, its length of `offset_align` (bytes).
            offset: Bytes from the start; under ``O_DIRECT`` a multiple of `offset_align`.

        Returns:
            Bytes read; fewer than asked only at the end of the file.

        Raises:
            AlignmentError: Something is not aligned; nothing was submitted.
            OSError: The kernel's.
        """
        return self._transfer(lib.FUAIO_READ, [buffer], offset, fua=False)

    def preadv(self, buffers: Iterable[Buffer], offset: int) -> int:
        """Fill *buffers* in turn, as `pread_into` does one, with one request where it fits."""
        return self._transfer(lib.FUAIO_READ, buffers, offset, fua=False)

    def pwrite(self, data: Buffer, offset: int, *, fua: bool = False) -> int:
        """Write *data* at *offset*; with *fua*, return only once it is durable.

        The engine reads *data* in place until the call returns: do not change it meanwhile.
        If a signal handler raises (Ctrl-C), the write may still happen, and *data* cannot be
        resized until its completion is seen.

        Args:
            data: C-contiguous. Under ``O_DIRECT`` its address is a multiple of
                `memory_align`, its length of `offset_align` (bytes).
            offset: Bytes from the start; under ``O_DIRECT`` a multiple of `offset_align`.
            fua: Complete as ``RWF_DSYNC`` would: the data, and the metadata needed to read it
                back, are on non-volatile storage. Covers this write alone; earlier plain
                writes need `flush`. Durable is not atomic: a crash during the call may leave
                any part of *data*.

        Returns:
            The number of bytes written: all of *data*. 0 for empty data, nothing submitted.

        Raises:
            AlignmentError: Something is not aligned; nothing was submitted.
            DurabilityError: A flush failed, now or before; see there.
            OSError: The kernel refused or failed the write. ``bytes_written`` says how much
                it had taken. After ``EIO`` what is on the medium is unknown.

        Source:
            pwritev2(2), RWF_DSYNC.
        """
        return self._transfer(lib.FUAIO_WRITE, [data], offset, fua=fua)

    def pwritev(self, buffers: Iterable[Buffer], offset: int, *, fua: bool = False) -> int:
        """Write *buffers* one after the other at *offset*, as `pwrite` does one.

        One request with the whole list; split where it is longer than 1024 buffers or
        0x7ffff000 bytes. With *fua* the call returns once all of it is durable.
        """
        return self._transfer(lib.FUAIO_WRITE, buffers, offset, fua=fua)

    def flush(self, *, metadata: bool = False) -> None:
        """Make every write that completed before this call durable.

        As fdatasync does; with *metadata* as fsync.

        Never skipped, since others may have written; concurrent calls may share one.

        Raises:
            DurabilityError: It failed, or one before it did.
        """
        self._queue.check_open()
        op = lib.FUAIO_FLUSH_ALL if metadata else lib.FUAIO_FLUSH_DATA
        self._queue.run(op, False, 0, ffi.NULL, 0, ())

    def close(self) -> None:
        """Wait for what is in flight, then close the descriptor. Does not flush.

        If a signal handler raises meanwhile, call it again.
        """
        self._closed = True
        while not self._queue.close():
            pass

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def __del__(self) -> None:
        """Close it late, with a warning; requests in flight keep what they need."""
        if self._closed:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:  # a filter may make an error of it
            self._closed = True
            self._queue.leave_over()

    def __repr__(self) -> str:
        """Name, engine and state."""
        state = "closed" if self._closed else f"direct={self._direct}"
        return f"<fuaio.aio.File {self._queue.name} {self._engine} {state}>"

    def _transfer(self, op: int, buffers: Iterable[Buffer], offset: int, *, fua: bool) -> int:
        self._queue.check_open()
        if offset < 0:
            raise ValueError(f"offset {offset} is negative; count from the start of the file")
        held = exported_all(buffers, writable=op == lib.FUAIO_READ)
        if not any(map(len, held)):
            return 0
        iov = ffi.new("struct iovec[]", len(held))
        for slot, memory in zip(iov, held, strict=True):
            slot.iov_base, slot.iov_len = memory, len(memory)
        done = self._queue.run(op, fua, offset, iov, len(held), held)
        if done is None:
            raise AlignmentError(self._misalignment(iov, offset))
        return done

    def _misalignment(self, iov: CData, offset: int) -> str:
        memory, step = self.memory_align, self.offset_align
        needed = f"O_DIRECT on {self._queue.name} needs"
        if offset % step:
            return f"offset {offset}: {needed} a multiple of {step} bytes"
        for number in range(len(iov)):
            slot = iov[number]
            address, length = int(ffi.cast("uintptr_t", slot.iov_base)), slot.iov_len
            if length % step:
                return f"length {length} of buffer {number}: {needed} a multiple of {step} bytes"
            if address % memory:
                return (
                    f"address {address:#x} of buffer {number}: {needed} a multiple of {memory} "
                    "bytes; aligned_buffer() gives such memory"
                )
        return f"{needed} aligned requests"
