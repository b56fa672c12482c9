"""Peers that hand a queue to the program, which submits and reaps by itself.

Those that take no flags write through a descriptor opened with O_DSYNC, which is the same promise.
"""

from __future__ import annotations

import os
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from fuaio.bench._peer_task import aligned_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

    from fuaio.bench._peer_task import Task

_BETWEEN_LOOKS = 64  # writes

__all__ = ["libaio", "liburing", "os_fdatasync", "os_o_dsync", "os_pwritev", "uring_api"]


def os_pwritev(task: Task) -> int:
    """os.pwritev with RWF_DSYNC, one after the other."""
    return _one_after_the_other(task, task.open(durable=False), os.pwritev, os.RWF_DSYNC)


def os_o_dsync(task: Task) -> int:
    """os.pwritev to a descriptor opened with O_DSYNC."""
    return _one_after_the_other(task, task.open(durable=True), os.pwritev, 0)


def os_fdatasync(task: Task) -> int:
    """os.pwritev, and os.fdatasync behind each."""

    def write(fd: int, blocks: list[mmap], offset: int, flags: int) -> int:
        written = os.pwritev(fd, blocks, offset, flags)
        os.fdatasync(fd)
        return written

    return _one_after_the_other(task, task.open(durable=False), write, 0)


def _one_after_the_other(
    task: Task, fd: int, write: Callable[[int, list[mmap], int, int], int], flags: int
) -> int:
    blocks = [task.block()]
    writes = 0
    task.begin()
    while (now := perf_counter()) < task.end:
        # As ours: the clock is read once for many, and the list is made before they are written.
        count = 1 if task.work.latencies else _BETWEEN_LOOKS
        for offset in list(islice(task.offsets, count)):
            task.check(write(fd, blocks, offset, flags))
        writes += count
        if task.work.latencies:
            task.latencies_s.append(perf_counter() - now)
    task.stop()
    return writes


def uring_api(task: Task) -> int:
    """The ring by hand: what was prepared is submitted by the wait for completions."""
    from uring_api import Ring

    fd = task.open(durable=True)
    block = memoryview(task.block())
    writes = 0
    with Ring(entries=max(8, task.depth)) as ring:
        task.begin()
        in_flight = 0
        while perf_counter() < task.end or in_flight:
            while in_flight < task.depth and perf_counter() < task.end:
                ring.prepare_write(fd, block, next(task.offsets))
                in_flight += 1
            for completion in ring.wait() or ():
                task.check(completion.res)
                writes += 1
                in_flight -= 1
        task.stop()
    return writes


def liburing(task: Task) -> int:
    """The names of the C library: submit and wait by one call, RWF_DSYNC for each write.

    A ring of one thread, which waits for half of what is in flight: the fastest of what was tried.
    """
    import liburing as library

    fd = task.open(durable=False)
    block = [aligned_bytes(task.work.fill, task.length)]
    ring, cqe = library.Ring(), library.Cqe()
    flags = library.IORING_SETUP_SINGLE_ISSUER | library.IORING_SETUP_DEFER_TASKRUN
    library.io_uring_queue_init(max(8, task.depth), ring, flags)
    # One iovec for all: each names the same block, and lives as long as the ring.
    iovec = library.Iovec(block)
    writes = in_flight = 0
    task.begin()
    while perf_counter() < task.end or in_flight:
        while in_flight < task.depth and perf_counter() < task.end:
            sqe = library.io_uring_get_sqe(ring)
            library.io_uring_prep_writev(sqe, fd, iovec, next(task.offsets), os.RWF_DSYNC)
            in_flight += 1
        library.io_uring_submit_and_wait(ring, max(1, in_flight // 2))
        while in_flight and library.io_uring_cq_ready(ring):
            library.io_uring_peek_cqe(ring, cqe)
            entry = cqe[0]
            task.check(entry.res)  # reading it raises what the kernel answered
            library.io_uring_cqe_seen(ring, entry)
            writes += 1
            in_flight -= 1
    task.stop()
    library.io_uring_queue_exit(ring)
    return writes


def libaio(task: Task) -> int:
    """AIOContext: the blocks that have completed are submitted again, with RWF_DSYNC."""
    from libaio import AIOBLOCK_MODE_WRITE, AIOBlock, AIOContext

    fd = task.open(durable=False)
    block = task.block()
    free = [
        AIOBlock(AIOBLOCK_MODE_WRITE, fd, [block], rw_flags=os.RWF_DSYNC) for _ in range(task.depth)
    ]
    writes = 0
    with AIOContext(task.depth) as context:
        task.begin()
        while perf_counter() < task.end:
            for request in free:
                request.offset = next(task.offsets)
            context.submit(free)
            events = context.getEvents(1)
            for _, result, _ in events:
                task.check(result)
            writes += len(events)
            free = [request for request, _, _ in events]
        left = task.depth - len(free)
        events = context.getEvents(left) if left else []
        for _, result, _ in events:
            task.check(result)
        task.stop()
    return writes + len(events)
