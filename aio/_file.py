"""`File`: durable reads and writes at offsets, one call a request."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Self

from fuaio.aio._base import NEGATIVE, READ, WRITE, BaseFile
from fuaio.aio._batch import check_all_done, durable_number, make_pieces, outcomes_of
from fuaio.aio._buffers import address_of, aligned_buffer, exported_all, place_of
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import AlignmentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Buffer

    from fuaio.aio._batch import Buffers, Durable
    from fuaio.aio._pieces import Export
    from fuaio.aio._queue import Batch

__all__ = ["File"]


class File(BaseFile):
    """An open file or block device. Made by `open_file`; may be used from several threads.

    A child made by fork gets `ClosedError` from everything but `close`.
    """

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
        done = self._queue.run_once(READ, False, offset, buffer)
        if done is None:
            raise self._why_not_begun(buffer, offset)
        return done

    def preadv(self, buffers: Iterable[Buffer], offset: int) -> int:
        """Fill *buffers* in turn, as `pread_into` does one, with one request where it fits."""
        return self._transfer_all(READ, buffers, offset, fua=False)

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
        done = self._queue.run_once(WRITE, fua, offset, data)
        if done is None:
            raise self._why_not_begun(data, offset)
        return done

    def pwritev(self, buffers: Iterable[Buffer], offset: int, *, fua: bool = False) -> int:
        """Write *buffers* one after the other at *offset*, as `pwrite` does one.

        One request with the whole list; split where it is longer than 1024 buffers or
        0x7ffff000 bytes. With *fua* the call returns once all of it is durable.
        """
        return self._transfer_all(WRITE, buffers, offset, fua=fua)

    def write_batch(
        self,
        offsets: Sequence[int],
        buffers: Buffers,
        *,
        durable: Durable = "fua",
        latencies: Buffer | None = None,
    ) -> int:
        """Write each of *buffers* at its offset; return once all are durable, as *durable* says.

        As many are in flight at once as the file was opened with (*depth*); each that is done
        makes room for the next, without a turn through Python. Their order is not promised: of
        writes that overlap either may be the last. The threads engine takes one at a time.

        The engine reads the buffers in place until the call returns: do not change them. If a
        signal handler raises (Ctrl-C), no more is begun; what was may still happen.

        Args:
            offsets: Bytes from the start of the file, one for each buffer. An ``array("q")`` is
                the quickest.
            buffers: A list or tuple of buffers, as `pwrite` takes one; or a single buffer, which
                is cut into as many equal blocks as there are offsets.
            durable: ``fua``: each write as `pwrite` does with *fua*. ``flush``: plain writes,
                and one flush for as many as were in flight at once. ``auto``: whichever of the
                two is measured to be quicker on this file, for about so many writes at once of
                about this length; `statistics` says which, and why. None: not durable.
            latencies: An ``array("Q")`` with a place for each request, for percentiles: filled
                with the nanoseconds from when it began until it was done, and durable where that
                was asked for, or had failed. Without it no clock is read.

        Returns:
            The number of bytes written: all of *buffers*.

        Raises:
            BatchError: Some failed; ``failures`` tells which, all others are as asked. A group
                whose flush failed fails as a whole, and what follows it.
            AlignmentError: Something is not aligned; nothing was submitted.
            ValueError: No or different numbers of offsets, buffers and latencies; nothing was
                submitted.
        """
        self._queue.check_open()
        number = durable_number(durable)
        pieces = make_pieces(offsets, buffers, writable=False, latencies=latencies)
        self._run_batch(WRITE, number, pieces)
        return pieces.length

    def read_batch(self, offsets: Sequence[int], buffers: Buffers) -> list[int]:
        """Read into each of *buffers* from its offset, as `write_batch` writes.

        Returns:
            For each the number of bytes read; fewer than its length only at the end of the file.
        """
        self._queue.check_open()
        pieces = make_pieces(offsets, buffers, writable=True)
        batch = self._run_batch(READ, lib.FUAIO_PLAIN, pieces)
        return [outcome.bytes for outcome in outcomes_of(batch.pieces)]

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
        queue = getattr(self, "_queue", None)
        if queue is None or queue.is_closed:
            return
        try:
            if not self._closed:  # else a signal ended close
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:  # a filter may make an error of it
            self._closed = True
            queue.leave_over()

    def _why_not_begun(self, data: Buffer, offset: int) -> Exception:
        self._queue.check_open()
        if offset < 0:
            return ValueError(NEGATIVE.format(offset))
        return AlignmentError(self._misalignment([place_of(data)], offset))

    def _transfer_all(self, op: int, buffers: Iterable[Buffer], offset: int, *, fua: bool) -> int:
        self._queue.check_open()
        if offset < 0:
            raise ValueError(NEGATIVE.format(offset))
        held = exported_all(buffers, writable=op == READ)
        if not any(map(len, held)):
            return 0
        iov = ffi.new("struct iovec[]", len(held))
        for slot, memory in zip(iov, held, strict=True):
            slot.iov_base, slot.iov_len = memory, len(memory)
        done = self._queue.run(op, fua, offset, iov, len(held), held)
        if done is None:
            places = [(address_of(slot.iov_base), slot.iov_len) for slot in iov]
            raise AlignmentError(self._misalignment(places, offset))
        return done

    def _run_batch(self, op: int, durable: int, pieces: Export) -> Batch:
        batch = self._queue.run_batch(op, durable, pieces)
        if isinstance(batch, int):
            raise self._piece_refused(batch, pieces)
        check_all_done(batch, self._queue.name)
        return batch
