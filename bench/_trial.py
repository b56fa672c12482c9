"""What durable writes at a path cost, and how they are taken, learnt by doing.

Each method overwrites blocks of a scratch file, and makes it longer, for a moment, as a run of
`measure` would have it; so do 16 writes by which it is seen whether submitting puts the process
to sleep.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from types import coroutine
from typing import TYPE_CHECKING

import msgspec

from fuaio.aio import aligned_buffer, available, open_async, open_file
from fuaio.bench._ours import Ours, Way
from fuaio.bench._peers import peers
from fuaio.bench._rounds import run_rounds
from fuaio.bench._target import TargetError, place_at
from fuaio.bench._work import Pattern, Work
from fuaio.probe._known import ENGINES, make_fact

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any

    from fuaio.bench._record import Latencies
    from fuaio.bench._rounds import Entry
    from fuaio.bench._target import Target
    from fuaio.bench._work import Contestant
    from fuaio.probe._record import Fact

__all__ = ["try_out"]

REGION_BYTES = 1 << 20
_BLOCK_BYTES = 4096
_GROUP = 16
_SUBMISSIONS = 16
_LARGEST_ALIGNMENT = 4096
_PATTERNS = {"overwrite": Pattern.RANDOM, "append": Pattern.APPEND}


def try_out(
    path: str,
    *,
    seconds: float = 0.2,
    destroy_data: bool = False,
    done: Callable[[], object] | None = None,
) -> list[Fact]:
    """Write durably at *path*, and return the facts of the section trial.

    Args:
        path: A folder, in which a scratch file is made for that time; of a file its folder; or a
            block device that nothing uses.
        seconds: How long each method writes, for its figures and again for its percentiles.
        destroy_data: The first MiB of the block device may be overwritten.
        done: Called after each of `turns`.

    Raises:
        TargetError: It is none of these, may not be written to, or takes no ``O_DIRECT``.
    """
    with place_at(path, REGION_BYTES, destroy_data=destroy_data) as place:
        return [
            *_alignments(place),
            *(_can_fua(engine, place) for engine in ENGINES),
            *_sleeps(place),
            *_costs(place, seconds, done or _nothing),
        ]


def turns() -> int:
    """Return how often `try_out` says that something is done."""
    return 2 * len(_PATTERNS) * (len(_one_at_a_time()) + len(_in_groups()))


def _nothing() -> None:
    pass


# ---- direct I/O ----


def _alignments(place: Target) -> list[Fact]:
    """Try ever greater powers of two, in bytes, until the kernel takes one."""
    fd = os.open(place.path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    try:
        memory = memoryview(aligned_buffer(2 * _LARGEST_ALIGNMENT))
        offset_align = _least(lambda size: os.pwrite(fd, memory[:size], size))
        if offset_align is None:
            memory_align = None
        else:
            length = max(offset_align, _BLOCK_BYTES)
            memory_align = _least(lambda size: os.pwrite(fd, memory[size : size + length], 0))
    except OSError as error:
        raise TargetError(f"{place.place}: {error.strerror}") from None
    finally:
        os.close(fd)
    return [
        _learnt(name, value, "no power of two up to 4096 was taken")
        for name, value in (
            ("direct_memory_align", memory_align),
            ("direct_offset_align", offset_align),
        )
    ]


def _least(write: Callable[[int], object]) -> int | None:
    size = 1
    while size <= _LARGEST_ALIGNMENT:
        try:
            write(size)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            size *= 2
        else:
            return size
    return None


def _learnt(name: str, value: int | None, why_not: str) -> Fact:
    if value is None:
        return make_fact(("trial", name), "unknown", "not-learnt", detail=why_not)
    return make_fact(("trial", name), "yes", "ok", value=value)


# ---- engines ----


def _can_fua(engine: str, place: Target) -> Fact:
    """Say how a durable write is asked for, if one is done."""
    key = ("trial", f"{engine}_can_fua")
    if why := available().why_not.get(engine):
        return make_fact(key, "unknown", "not-learnt", detail=why)
    block = aligned_buffer(_BLOCK_BYTES)
    try:
        with open_file(place.path, "r+", engine=engine, direct=True) as file:
            file.pwrite(block, 0, fua=True)
            return make_fact(key, "yes", "ok", value=file.can_fua.value)
    except OSError as error:
        return make_fact(key, "unknown", "not-learnt", detail=str(error))


def _sleeps(place: Target) -> list[Fact]:
    facts = []
    for engine in ("io_uring", "linux_aio"):
        for what, first in (("overwrite", 0), ("append", place.region_bytes)):
            name = f"{engine}_{what}_sleeps"
            if first and not place.file_system:
                facts.append(_learnt(name, None, "a block device does not grow"))
                continue
            try:
                slept = asyncio.run(_count_sleeps(engine, place.path, first))
            except OSError as error:
                facts.append(_learnt(name, None, str(error)))
            else:
                facts.append(_learnt(name, slept, ""))
    return facts


async def _count_sleeps(engine: str, path: str, first: int) -> int:
    """Return in how many of 16 submissions of durable writes this thread was put to sleep."""
    block = aligned_buffer(_BLOCK_BYTES)
    slept: list[int] = []
    async with open_async(path, "r+", engine=engine, direct=True) as file:
        for number in range(_SUBMISSIONS):
            write = file.pwrite(block, first + number * _BLOCK_BYTES, fua=True)
            await _noting_sleeps(write, slept)
    return sum(map(bool, slept))


@coroutine
def _noting_sleeps(write: Coroutine[Any, Any, int], slept: list[int]) -> Generator[Any, Any, int]:
    """Await *write*, and note how often its first step, which submits, made the thread sleep."""
    before = _switches()
    try:
        waits_for = write.send(None)
    except StopIteration as done:
        return int(done.value)
    finally:
        slept.append(_switches() - before)
    while True:
        try:
            waits_for = write.send((yield waits_for))
        except StopIteration as done:
            return int(done.value)


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


# ---- costs ----


def _costs(place: Target, seconds: float, done: Callable[[], object]) -> list[Fact]:
    facts: list[Fact] = []
    for what, pattern in _PATTERNS.items():
        work = Work(
            path=place.path, region_bytes=place.region_bytes, seconds=seconds, pattern=pattern
        )
        for methods, depth in (_one_at_a_time(), 1), (_in_groups(), _GROUP):
            row = msgspec.structs.replace(work, depth=depth)
            with_latencies = msgspec.structs.replace(row, latencies=True)
            entries = run_rounds(
                list(methods.values()),
                row,
                with_latencies,
                1,
                flushes=place.device.flushes,
                done=done,
            )
            for method, entry in zip(methods, entries, strict=True):
                facts.append(_cost(f"{method}_{what}_ns", entry))
    return facts


def _one_at_a_time() -> dict[str, Contestant]:
    known = peers()
    return {
        **{engine: Ours(engine, Way.FUA) for engine in ENGINES},
        "o_dsync": known["os-o_dsync"],
        "fdatasync": known["os-fdatasync"],
    }


def _in_groups() -> dict[str, Contestant]:
    """A flush for 16 writes that are in flight at once, by the best engine that has several."""
    several = [engine for engine in available().engines if engine != "threads"]
    return {"group": Ours((*several, "threads")[0], Way.GROUP_FLUSH)}


def _cost(name: str, entry: Entry) -> Fact:
    if not entry.samples:
        return make_fact(("trial", name), "unknown", "not-learnt", detail=entry.why_not)
    detail = entry.why_no_latencies
    if entry.latencies is not None:
        parts = zip(("p50", "p90", "p99"), _percentiles(entry.latencies), strict=True)
        detail = ", ".join(f"{part} {taken_s * 1e6:.1f} us" for part, taken_s in parts)
        detail += f" of {entry.latencies.count} writes"
    value = round(1e9 / entry.samples[0].iops)
    return make_fact(("trial", name), "yes", "ok", value=value, detail=detail)


def _percentiles(latencies: Latencies) -> tuple[float, float, float]:
    return latencies.p50_s, latencies.p90_s, latencies.p99_s
