"""`AsyncFile`: the same reads and writes as `File`'s, for an event loop.

Facts: a future and its turn of the loop cost more than the system call; so does an eventfd that
epoll has to tell. Closing a descriptor that a ring or a worker still writes to is a catastrophe.

What this means here: where nothing is in flight, and nobody else seems about to ask, a request is
submitted inside its call, which returns at once if it is done; what one turn of the loop asks for
else is submitted together at its end, and reaped there; the eventfd tells the rest. It is the
queue's, and closed after it.
"""

from __future__ import annotations

import errno
import os
import warnings
import weakref
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, NoReturn, Self

from fuaio.aio._base import NEGATIVE, READ, WRITE, BaseFile
from fuaio.aio._batch import check_all_done, durable_number, make_pieces, outcomes_of
from fuaio.aio._buffers import NOT_EXPORTED, aligned_buffer, exported, place_of
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import AlignmentError, ClosedError
from fuaio.aio._once import begin
from fuaio.aio._queue import Batch

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType
    from typing import Any

    from typing_extensions import Buffer

    from fuaio.aio._batch import Buffers, Durable
    from fuaio.aio._core import CData
    from fuaio.aio._loops import Answer, Loop
    from fuaio.aio._pieces import Export
    from fuaio.aio._queue import Call, Queue

__all__ = ["AsyncFile", "close_dropped"]

_PENDING = (-errno.EINPROGRESS, -errno.EALREADY)


class AsyncFile(BaseFile):
    """An open file or block device for one event loop. Made by `open_async`.

    It belongs to the loop of asyncio, or the run of trio, that opened it, and to its thread:
    anybody else gets RuntimeError before anything is submitted, a forked child `ClosedError`.

    Cancelling an await does not stop the kernel: the write may still happen, even after a later
    one to the same place, and its buffer cannot be resized until the completion is seen; `close`
    waits for it. One that is cancelled may have become durable, but nobody is told.

    In asyncio, calls that are done at once do not give the loop a turn, but for the 32nd in a
    row and after a millisecond: what must not wait (a timeout, a cancel) waits so long. In trio
    every call is a checkpoint: one that is cancelled already begins nothing.
    """

    def __init__(
        self, queue: Queue, engine: str, facts: CData, loop: Loop, *, direct: bool
    ) -> None:
        super().__init__(queue, engine, facts, direct=direct)
        self._address, self._held = queue.address, queue.held
        self._loop = loop
        self._tags = count(1)
        self._waiting: dict[int, Answer[int]] = {}
        self._batches: dict[int, Call] = {}
        self._told = ffi.new("struct fuaio_told *")
        self._is_turn_planned = False
        self._pausing = 0  # calls that are done and give others a turn, who may ask meanwhile
        self._answered_several = False  # by the last turn: these are about to ask again
        self._closers: list[Answer[int]] = []  # who waits until nothing is in flight
        # Weak, or the loop would keep a file that everybody else has dropped.
        self._weak = weakref.ref(self)
        loop.add_reader(queue.event_fd, _readable, self._weak)

    async def pread(self, length: int, offset: int) -> bytes:
        """Return *length* bytes from *offset*; fewer only at the end of the file."""
        if length < 0:
            raise ValueError(f"length {length} is negative")
        buffer = aligned_buffer(length) if self._direct and length else bytearray(length)
        return bytes(memoryview(buffer)[: await self.pread_into(buffer, offset)])

    # These two are not async themselves: a frame less for each request.

    def pread_into(self, buffer: Buffer, offset: int) -> Coroutine[Any, Any, int]:
        """Read into *buffer* until it is full or the file ends, as `File.pread_into`."""
        return self._transfer(READ, buffer, offset, False)

    def pwrite(self, data: Buffer, offset: int, *, fua: bool = False) -> Coroutine[Any, Any, int]:
        """Write *data*; with *fua*, return only once it is durable, as `File.pwrite`."""
        return self._transfer(WRITE, data, offset, fua)

    async def flush(self, *, metadata: bool = False) -> None:
        """Make every write that completed before this call durable, as `File.flush`."""
        await self._transfer(
            lib.FUAIO_FLUSH_ALL if metadata else lib.FUAIO_FLUSH_DATA, None, 0, False
        )

    async def write_batch(
        self,
        offsets: Sequence[int],
        buffers: Buffers,
        *,
        durable: Durable = "fua",
        latencies: Buffer | None = None,
    ) -> int:
        """Write each of *buffers* at its offset, as `File.write_batch`; one await for all.

        If it is cancelled no more is begun; what was may still happen.
        """
        if self._loop.first is not None:
            await self._first()
        number = durable_number(durable)
        pieces = make_pieces(offsets, buffers, writable=False, latencies=latencies)
        await self._run_batch(WRITE, number, pieces)
        return pieces.length

    async def read_batch(self, offsets: Sequence[int], buffers: Buffers) -> list[int]:
        """Read into each of *buffers* from its offset, as `File.read_batch`."""
        if self._loop.first is not None:
            await self._first()
        pieces = make_pieces(offsets, buffers, writable=True)
        await self._run_batch(READ, lib.FUAIO_PLAIN, pieces)
        return [outcome.bytes for outcome in outcomes_of(pieces)]

    async def close(self) -> None:
        """Wait for what is in flight, then close the descriptor. Does not flush.

        New requests get `ClosedError` at once, those that began before are done. In asyncio, if
        it is cancelled, call it again; in trio it waits all the same, and then the cancel is seen.
        Where the loop is closed already, nobody waits: what is in flight keeps its buffers and
        the descriptor. In a forked child only descriptors close.

        Raises:
            RuntimeError: In another loop or thread; the file stays open.
            OSError: The kernel's answer to closing the descriptor, which is closed all the same.
        """
        queue, loop = self._queue, self._loop
        is_alone = queue.is_foreign or loop.is_closed()
        if not is_alone and not queue.is_closed:
            self._check_place()
        self._closed = True
        if is_alone or not loop.is_here():
            queue.leave_over()
        else:
            await loop.close(self._drain())

    async def _drain(self) -> None:
        queue = self._queue
        while not queue.is_closed and not self._is_idle():
            self._plan_turn()  # what was planned may never come: Ctrl-C
            self._closers.append(idle := self._loop.answer())
            await idle
        if not queue.is_closed:
            self._loop.remove_reader(queue.event_fd)
            while not queue.close():
                pass

    async def __aenter__(self) -> Self:
        """Return the file itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        await self.close()

    def __del__(self) -> None:
        """Close it late, with a warning; requests in flight keep what they need."""
        if self._closed and self._queue.is_closed:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:  # a filter may make an error of it
            self._closed = True
            for batch in self._batches.values():
                self._queue.end_batch(batch)
            _drop(self._loop, self._queue)

    async def _first(self) -> None:
        self._check_place()
        if self._loop.first is not None:
            await self._loop.first()
        if self._closed:
            self._refuse()

    async def _transfer(self, op: int, data: Buffer | None, offset: int, fua: bool) -> int:
        # In one frame, since each one more costs as much as C does for a request. The export of
        # the buffer is the queue's alone, not that of a frame that waits.
        loop, waiting, tag = self._loop, self._waiting, next(self._tags)
        if loop.first is not None:
            await self._first()
        if self._closed or not loop.is_here():
            self._refuse()
        # Of a turn that is planned though nobody waits Ctrl-C may have taken the callback.
        is_alone = not waiting and (
            self._is_turn_planned or not (self._pausing or self._answered_several)
        )
        try:
            done = begin(self._address, op, fua, offset, data, tag, is_alone, self._held)
        except NOT_EXPORTED:
            if data is not None:
                exported(data, writable=op == READ)  # where it could not be, this says why
            raise
        if done is None:
            self._queue.check_open()
            done = 0
        if done >= 0:
            if loop.is_pause_due():
                self._pausing += 1
                try:
                    await loop.pause()
                finally:
                    self._pausing -= 1
            return done
        if done not in _PENDING:
            raise self._why_not_begun(done, data, offset)
        answer = waiting[tag] = loop.answer()
        if done == -errno.EALREADY or not (is_alone or self._is_turn_planned):
            self._plan_turn()
        return await answer

    def _why_not_begun(self, code: int, data: Buffer | None, offset: int) -> Exception:
        if offset < 0:
            return ValueError(NEGATIVE.format(offset))
        self._queue.raise_not_begun(code)
        return AlignmentError(self._misalignment([] if data is None else [place_of(data)], offset))

    async def _run_batch(self, op: int, durable: int, pieces: Export) -> None:
        if self._closed or not self._loop.is_here():
            pieces.release()
            pieces.release_latencies()
            self._refuse()
        batch, wrong = self._queue.begin_batch(op, durable, pieces)
        if wrong is not None:
            self._queue.end_batch(batch)
            raise self._piece_refused(wrong, pieces)
        tag = next(self._tags)
        lib.fuaio_loop_begin_batch(batch.c[0], tag)
        answer = self._waiting[tag] = self._loop.answer()
        self._batches[tag] = batch
        try:
            self._turn()
            if answer.done() and self._loop.is_pause_due():
                await self._loop.pause()
            failed = await answer
        except BaseException:
            if tag in self._batches and batch.c[0]:  # else Ctrl-C came while it was told
                lib.fuaio_batch_abandon(batch.c[0])
                if not (self._loop.is_closed() or self._is_turn_planned):
                    self._plan_turn()
            raise
        check_all_done(Batch(self._queue, pieces, failed), self._queue.name)

    def _refuse(self) -> NoReturn:
        self._check_place()
        raise ClosedError(f"{self._queue.name}: the file is closed")

    def _check_place(self) -> None:
        if self._loop.is_here():
            return
        if self._queue.is_foreign:
            raise self._queue.foreign()
        raise RuntimeError(
            f"{self._queue.name} belongs to another event loop, or to it in another thread; "
            "open it here"
        )

    def _is_idle(self) -> bool:
        return not self._waiting and not self._batches and self._queue.is_idle

    def _plan_turn(self) -> None:
        self._loop.call_soon(_planned, self._weak)
        self._is_turn_planned = True

    def _turn(self, readable: bool = False) -> None:
        """Submit and reap what can be without waiting; tell those who wait."""
        if self._queue.is_closed:
            return
        told = self._told
        try:
            if told.next < told.count:  # Ctrl-C came between
                self._tell_all(told)
            lib.fuaio_loop_turn(self._queue.c, told, readable)
            self._tell_all(told)
            if told.count:
                self._answered_several = told.count > 1
        finally:
            if not self._is_turn_planned and (told.more or told.next < told.count):
                self._plan_turn()
        if self._closers and self._is_idle():
            for closer in self._closers:
                if not closer.done():
                    closer.set_result(0)
            self._closers.clear()

    def _tell_all(self, told: CData) -> None:
        count, number = told.count, told.next
        tags, results = ffi.unpack(told.tags, count), ffi.unpack(told.results, count)
        waiting, held, batches = self._waiting, self._held, self._batches
        try:
            while number < count:
                tag, result = tags[number], results[number]
                answer = waiting.get(tag)
                if result < 0 or answer is None or tag in batches or answer.done():
                    self._tell(tag, result, number)
                else:
                    answer.set_result(result)
                    held.pop(tag, None)
                    del waiting[tag]
                number += 1
        finally:
            told.next = number

    def _tell(self, tag: int, result: int, number: int) -> None:
        """Give one answer to whoever waits. May be stopped anywhere (Ctrl-C) and done again."""
        answer = self._waiting.get(tag)
        if answer is None or answer.done():
            pass  # cancelled, or stopped before it could wait
        elif result < 0:
            told = self._told
            answer.set_exception(
                self._queue.failure(-result, told.bytes[number], lost=told.lost_durability[number])
            )
        else:
            answer.set_result(result)
        if tag in self._batches:
            self._queue.end_batch(self._batches[tag])
            del self._batches[tag]
        else:
            self._queue.held.pop(tag, None)  # nobody else has them
        self._waiting.pop(tag, None)


def _planned(file: weakref.ref[AsyncFile]) -> None:
    """What a loop calls at the end of its turn."""
    it = file()
    if it is not None:
        # These are parts of the class, which must not keep its file.
        it._is_turn_planned = False
        it._turn()


def _readable(file: weakref.ref[AsyncFile]) -> None:
    """What a loop calls when the eventfd tells of a completion."""
    it = file()
    if it is not None:
        it._turn(readable=True)


# Queues of files dropped with requests in flight, until the loop has closed them.
_dropped: dict[Queue, Loop] = {}


def _drop(loop: Loop, queue: Queue) -> None:
    """Called where the last user of the file is gone, perhaps in another thread or a child."""
    if queue.is_closed or queue.is_foreign or loop.is_closed():
        # A child shares the loop's epoll: what it removed there its parent would lose.
        queue.leave_over()
        return
    _dropped[queue] = loop
    with suppress(RuntimeError):  # closed just now
        loop.call_from_anywhere(_close_dropped, loop, queue)


def _close_dropped(loop: Loop, queue: Queue) -> None:
    """Close it now, or come back when the kernel is done with something."""
    _dropped.pop(queue, None)
    if queue.is_closed or loop.is_closed():
        queue.leave_over()
        return
    event_fd = queue.event_fd
    loop.remove_reader(event_fd)
    with suppress(BlockingIOError):
        os.eventfd_read(event_fd)
    if not queue.close(0):
        _dropped[queue] = loop
        loop.add_reader(event_fd, _close_dropped, loop, queue)


def close_dropped() -> None:
    """Close those whose loop was closed before it could."""
    for queue, loop in [*_dropped.items()]:
        if loop.is_closed():
            _dropped.pop(queue, None)
            queue.leave_over()
