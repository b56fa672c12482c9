"""`AsyncFile`: the same reads and writes as `File`'s, for an event loop.

Facts: a future and its turn of the loop cost more than the system call; so does an eventfd that
epoll has to tell. Closing a descriptor that a ring or a worker still writes to is a catastrophe.

What this means here: where nothing is in flight a request is submitted inside its call, which
returns at once if it is done; what one turn of the loop asks for else is submitted together at
its end, and reaped there; the eventfd tells the rest. It is the queue's, and closed after it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import warnings
import weakref
from contextlib import suppress
from itertools import count
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Self

from fuaio.aio._base import NEGATIVE, READ, WRITE, BaseFile
from fuaio.aio._batch import check_all_done, durable_number, make_pieces
from fuaio.aio._buffers import aligned_buffer, exported, place_of, release
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import AlignmentError, ClosedError
from fuaio.aio._queue import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Buffer

    from fuaio.aio._batch import Buffers, Durable, Pieces
    from fuaio.aio._core import CData
    from fuaio.aio._queue import Call, Queue

__all__ = ["AsyncFile", "close_dropped"]

_AT_ONCE_MOST = 32  # requests that are done within their call before the loop gets a turn
_WITHOUT_A_TURN_S = 0.001
_PENDING = (-errno.EINPROGRESS, -errno.EALREADY)


class AsyncFile(BaseFile):
    """An open file or block device for one event loop. Made by `open_async`.

    It belongs to the loop that opened it, and to that loop's thread: anybody else gets
    RuntimeError before anything is submitted, a forked child `ClosedError`.

    Cancelling an await does not stop the kernel: the write may still happen, even after a later
    one to the same place, and its buffer cannot be resized until the completion is seen; `close`
    waits for it. One that is cancelled may have become durable, but nobody is told.

    Calls that are done at once do not give the loop a turn, but for the 32nd in a row and after
    a millisecond: what must not wait (a timeout, a cancel) waits so long.
    """

    def __init__(self, queue: Queue, engine: str, facts: CData, *, direct: bool) -> None:
        super().__init__(queue, engine, facts, direct=direct)
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._tags = count(1)
        self._waiting: dict[int, asyncio.Future[CData | int]] = {}
        self._batches: dict[int, Call] = {}
        self._told = ffi.new("struct fuaio_told *")
        self._is_turn_planned = False
        self._idle: asyncio.Future[None] | None = None  # what close waits for
        self._at_once = 0  # calls done at once since the loop had a turn, and when the first was
        self._at_once_since = 0.0
        # Weak, or the loop would keep a file that everybody else has dropped.
        self._loop.add_reader(queue.event_fd, _turn, weakref.ref(self))

    async def pread(self, length: int, offset: int) -> bytes:
        """Return *length* bytes from *offset*; fewer only at the end of the file."""
        if length < 0:
            raise ValueError(f"length {length} is negative")
        buffer = aligned_buffer(length) if self._direct and length else bytearray(length)
        return bytes(memoryview(buffer)[: await self.pread_into(buffer, offset)])

    async def pread_into(self, buffer: Buffer, offset: int) -> int:
        """Read into *buffer* until it is full or the file ends, as `File.pread_into`."""
        return await self._transfer(READ, buffer, offset, fua=False)

    async def pwrite(self, data: Buffer, offset: int, *, fua: bool = False) -> int:
        """Write *data*; with *fua*, return only once it is durable, as `File.pwrite`."""
        return await self._transfer(WRITE, data, offset, fua=fua)

    async def flush(self, *, metadata: bool = False) -> None:
        """Make every write that completed before this call durable, as `File.flush`."""
        self._check()
        op = lib.FUAIO_FLUSH_ALL if metadata else lib.FUAIO_FLUSH_DATA
        await self._request(op, (), 0, ffi.NULL, 0, fua=False)

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
        self._check()
        number = durable_number(durable)
        pieces = make_pieces(offsets, buffers, writable=False, latencies=latencies)
        await self._run_batch(WRITE, number, pieces)
        return pieces.length

    async def read_batch(self, offsets: Sequence[int], buffers: Buffers) -> list[int]:
        """Read into each of *buffers* from its offset, as `File.read_batch`."""
        self._check()
        pieces = make_pieces(offsets, buffers, writable=True)
        batch = await self._run_batch(READ, lib.FUAIO_PLAIN, pieces)
        return [outcome.bytes for outcome in batch.outcomes]

    async def close(self) -> None:
        """Wait for what is in flight, then close the descriptor. Does not flush.

        New requests get `ClosedError` at once, those that began before are done. If it is
        cancelled, call it again. Where the loop is closed already, nobody waits: what is in
        flight keeps its buffers and the descriptor. In a forked child only descriptors close.

        Raises:
            RuntimeError: In another loop or thread; the file stays open.
            OSError: The kernel's answer to closing the descriptor, which is closed all the same.
        """
        queue = self._queue
        if queue.is_closed or queue.is_foreign or self._loop.is_closed():
            self._closed = True
            queue.leave_over()
            return
        self._check_place()
        self._closed = True
        while not queue.is_closed and not self._is_idle():
            self._plan_turn()
            if self._idle is None:
                self._idle = self._loop.create_future()
            # Others may wait for the same.
            await asyncio.shield(self._idle)
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
            _drop(self._loop, self._thread, self._queue)

    async def _transfer(self, op: int, data: Buffer, offset: int, *, fua: bool) -> int:
        self._check()
        if offset < 0:
            raise ValueError(NEGATIVE.format(offset))
        memory = exported(data, writable=op == READ)
        if not len(memory):  # not its truth: that is the pointer's
            await self._breathe()
            return 0
        done = await self._request(op, (memory,), offset, memory, len(memory), fua=fua)
        if done is None:
            raise AlignmentError(self._misalignment([place_of(data)], offset))
        return done

    async def _request(
        self,
        op: int,
        held: tuple[CData, ...],
        offset: int,
        memory: CData,
        length: int,
        *,
        fua: bool,
    ) -> int | None:
        queue, tag, is_idle = self._queue, next(self._tags), not self._waiting
        queue.held[tag] = held
        done = lib.fuaio_loop_begin(queue.c, op, fua, offset, memory, length, tag, is_idle)
        if done >= 0:
            del queue.held[tag]
            await self._breathe()
            return int(done)
        if done not in _PENDING:
            release(queue.held.pop(tag))
            queue.raise_not_begun(done)
            return None
        future = self._waiting[tag] = self._loop.create_future()
        if not is_idle or done == -errno.EALREADY:
            self._plan_turn()
        result: int = await future
        return result

    async def _run_batch(self, op: int, durable: int, pieces: Pieces) -> Batch:
        batch, outcomes = self._queue.begin_batch(op, durable, pieces)
        if isinstance(outcomes, int):
            self._queue.end_batch(batch)
            raise self._piece_refused(outcomes, pieces)
        tag = next(self._tags)
        lib.fuaio_loop_begin_batch(batch.c[0], tag)
        future = self._waiting[tag] = self._loop.create_future()
        self._batches[tag] = batch
        try:
            self._turn()
            if future.done():
                await self._breathe()
            failed = await future
        except BaseException:
            if tag in self._batches:
                lib.fuaio_batch_abandon(batch.c[0])
                if not self._loop.is_closed():
                    self._plan_turn()
            raise
        done = Batch(self._queue, pieces.length, failed, outcomes)
        check_all_done(done, self._queue.name)
        return done

    async def _breathe(self) -> None:
        """Give the loop a turn now and then, for its timers, cancels and everybody else."""
        if not self._at_once:
            self._at_once_since = monotonic()
            self._loop.call_soon(self._breathed)
        self._at_once += 1
        if self._at_once >= _AT_ONCE_MOST or monotonic() - self._at_once_since > _WITHOUT_A_TURN_S:
            await asyncio.sleep(0)

    def _breathed(self) -> None:
        self._at_once = 0

    def _check(self) -> None:
        self._check_place()
        if self._closed:
            raise ClosedError(f"{self._queue.name}: the file is closed")

    def _check_place(self) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop and get_ident() == self._thread:
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
        if not self._is_turn_planned:
            self._loop.call_soon(_turn, weakref.ref(self))
            self._is_turn_planned = True

    def _turn(self) -> None:
        """Submit and reap what can be without waiting; tell those who wait."""
        self._is_turn_planned = False
        if self._queue.is_closed:
            return
        told = self._told
        try:
            if told.next == told.count:  # else Ctrl-C came between
                lib.fuaio_loop_turn(self._queue.c, told)
            self._tell_all(told)
        finally:
            if told.more or told.next < told.count:
                self._plan_turn()
        if self._idle is not None and self._is_idle():
            if not self._idle.done():
                self._idle.set_result(None)
            self._idle = None

    def _tell_all(self, told: CData) -> None:
        answers, count, number = told.done, told.count, told.next
        try:
            while number < count:
                self._tell(answers[number])
                number += 1
        finally:
            told.next = number

    def _tell(self, answer: CData) -> None:
        """Give one answer to whoever waits. May be stopped anywhere (Ctrl-C) and done again."""
        tag, result = answer.tag, answer.result
        future = self._waiting.get(tag)
        if future is None or future.done():
            pass  # cancelled, or stopped before it could wait
        elif result < 0:
            future.set_exception(
                self._queue.failure(-result, answer.bytes, lost=answer.lost_durability)
            )
        else:
            future.set_result(result)
        batch = self._batches.get(tag)
        if batch is not None:
            self._queue.end_batch(batch)
            del self._batches[tag]
        else:
            release(self._queue.held.pop(tag, ()))
        self._waiting.pop(tag, None)


def _turn(file: weakref.ref[AsyncFile]) -> None:
    """What a loop calls."""
    it = file()
    if it is not None:
        it._turn()  # a part of the class, which must not keep its file


# Queues of files dropped with requests in flight, until the loop has closed them.
_dropped: dict[Queue, asyncio.AbstractEventLoop] = {}


def _drop(loop: asyncio.AbstractEventLoop, thread: int, queue: Queue) -> None:
    """Called where the last user of the file is gone, perhaps in another thread or a child."""
    if queue.is_closed or queue.is_foreign or loop.is_closed():
        # A child shares the loop's epoll: what it removed there its parent would lose.
        queue.leave_over()
    elif get_ident() == thread:
        _close_dropped(loop, queue)
    else:
        _dropped[queue] = loop
        with suppress(RuntimeError):  # closed just now
            loop.call_soon_threadsafe(_close_dropped, loop, queue)


def _close_dropped(loop: asyncio.AbstractEventLoop, queue: Queue) -> None:
    """Close it now, or come back when the kernel is done with something."""
    _dropped.pop(queue, None)
    if queue.is_closed:
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
