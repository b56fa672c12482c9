"""The program of one job of ours: ``python -m fuaio.bench._job ORDER``, an `Order` as JSON.

It overwrites blocks until it has found how many by one call take long enough for the clock to
cost nothing, prints a line, waits for one, overwrites for the time it was given, and prints an
`Answer`.
"""

from __future__ import annotations

import os
import random
import resource
import sys
from array import array
from itertools import islice
from time import perf_counter_ns
from typing import TYPE_CHECKING

import msgspec

from fuaio.aio import BufferPool, EngineUnavailableError, File, open_file
from fuaio.aio._buffers import exported
from fuaio.aio._engines import Refusal, new_queue
from fuaio.aio._open import ask, open_any
from fuaio.aio._queue import Queue
from fuaio.bench._ours import Order, Way
from fuaio.bench._work import Answer, Pattern, behind

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from fuaio.bench._work import Work

    Step = Callable[[array[int]], None]

_MOST_OFFSETS = 1 << 16
_LEAST_BY_CALL = 64
_WAVES = 8  # of a batch: its memory is small enough for a processor's cache, as the others' is
_CALLS = 20  # at least so many in the time that is measured
_DURABLE: dict[Way, Literal["fua", "flush", "auto"] | None] = {
    Way.WRITE_THEN_FLUSH: "fua",
    Way.FUA: "fua",
    Way.GROUP_FLUSH: "flush",
    Way.AUTO: "auto",
    Way.NONE: None,
}


def main(argument: str) -> int:
    """Do what the order says; return the exit code."""
    order = msgspec.json.decode(argument, type=Order)
    work = order.work
    pool = _make_pool(order)
    with _open(order, pool) as file:
        latencies: list[int] = []
        step = _make_step(file, order, pool, latencies)
        offsets = _Offsets(order)
        count = _warm_up(step, offsets, work)
        latencies.clear()
        print("ready", flush=True)
        if not sys.stdin.readline():
            return 1
        answer = _measure(step, offsets, count, work.seconds)
    seconds = [nanoseconds / 1e9 for nanoseconds in latencies]
    answer = msgspec.structs.replace(answer, latencies_s=seconds)
    print(msgspec.json.encode(answer).decode())
    return 0


def _open(order: Order, pool: BufferPool) -> File:
    work, engine = order.work, order.engine
    if order.way is not Way.WRITE_THEN_FLUSH:
        return open_file(
            work.path, "r+", engine=engine, direct=work.direct, depth=work.depth, pool=pool
        )
    # The same code from here to the kernel, but for the flag.
    opened = open_any(work.path, os.O_RDWR, work.direct)
    facts, memory = ask(opened), exported(pool.mapping)
    queue = new_queue(
        engine, fd=opened.fd, depth=work.depth, facts=facts, pool=memory, two_requests=True
    )
    if isinstance(queue, Refusal):
        raise EngineUnavailableError(engine, queue.cause, queue.message, queue.errno)
    return File(
        Queue(queue, opened.fd, opened.name, pool=memory), engine, facts, direct=work.direct
    )


def _make_pool(order: Order) -> BufferPool:
    """Return what is written: a block, or as many as one call may take."""
    work = order.work
    count = _most_by_call(work) if _takes_batches(order) else 1
    pool = BufferPool(count, work.block_bytes)
    pool.memory[:] = bytes([work.fill]) * len(pool.memory)
    return pool


def _most_by_call(work: Work) -> int:
    return max(_WAVES * work.depth, _LEAST_BY_CALL)


def _takes_batches(order: Order) -> bool:
    return order.work.depth > 1 or order.way in (Way.GROUP_FLUSH, Way.AUTO)


class _Offsets:
    """Where to write next, by the pattern; other jobs write elsewhere.

    Round and round in the region; or behind it, further and further.
    """

    def __init__(self, order: Order) -> None:
        work = order.work
        self._behind = behind(work) if work.pattern is Pattern.APPEND else None
        blocks = work.region_bytes // work.block_bytes
        count = min(blocks, _MOST_OFFSETS)
        if work.pattern is Pattern.RANDOM:
            numbers = random.Random(order.job).sample(range(blocks), count)
        else:
            first = blocks * order.job // work.jobs
            numbers = [(first + number) % blocks for number in range(count)]
        self._twice = array("q", [number * work.block_bytes for number in numbers]) * 2
        self._at = 0

    def __len__(self) -> int:
        return len(self._twice) // 2

    def take(self, count: int) -> array[int]:
        """Return the next *count*, which are no more than there are."""
        if self._behind is not None:
            return array("q", islice(self._behind, count))
        taken = self._twice[self._at : self._at + count]
        self._at = (self._at + count) % len(self)
        return taken


def _make_step(file: File, order: Order, pool: BufferPool, latencies: list[int]) -> Step:
    """Return a function that writes at the offsets it is given, and notes how long each took."""
    make = _batches if _takes_batches(order) else _single_writes
    return make(file, order, pool, latencies)


def _single_writes(file: File, order: Order, pool: BufferPool, latencies: list[int]) -> Step:
    block, fua = pool[0], order.way is not Way.NONE

    def write(offsets: array[int]) -> None:
        for offset in offsets:
            file.pwrite(block, offset, fua=fua)

    def write_and_note(offsets: array[int]) -> None:
        for offset in offsets:
            begin = perf_counter_ns()
            file.pwrite(block, offset, fua=fua)
            latencies.append(perf_counter_ns() - begin)

    return write_and_note if order.work.latencies else write


def _batches(file: File, order: Order, pool: BufferPool, latencies: list[int]) -> Step:
    durable = _DURABLE[order.way]

    def write(offsets: array[int]) -> None:
        blocks = pool.memory[: len(offsets) * pool.length]
        file.write_batch(offsets, blocks, durable=durable)

    def write_and_note(offsets: array[int]) -> None:
        taken = array("Q", bytes(8 * len(offsets)))
        blocks = pool.memory[: len(offsets) * pool.length]
        file.write_batch(offsets, blocks, durable=durable, latencies=taken)
        latencies.extend(taken)

    return write_and_note if order.work.latencies else write


def _warm_up(step: Step, offsets: _Offsets, work: Work) -> int:
    """Return by how many writes to call: a multiple of the depth, a part of the time."""
    count = min(work.depth, len(offsets))
    most = min(_most_by_call(work), len(offsets))
    while True:
        begin = perf_counter_ns()
        step(offsets.take(count))
        taken_s = (perf_counter_ns() - begin) / 1e9
        if count * 2 > most or taken_s * 2 * _CALLS > work.seconds:
            return count
        count *= 2


def _measure(step: Step, offsets: _Offsets, count: int, seconds: float) -> Answer:
    writes = 0
    cpu_s = _cpu_s()
    begin = perf_counter_ns()
    end = begin + int(seconds * 1e9)
    while (now := perf_counter_ns()) < end or not writes:
        step(offsets.take(count))
        writes += count
    return Answer(writes=writes, elapsed_s=(now - begin) / 1e9, cpu_s=_cpu_s() - cpu_s)


def _cpu_s() -> float:
    """User and system time of all threads; io_uring's workers in the kernel are threads of ours."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except (OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
