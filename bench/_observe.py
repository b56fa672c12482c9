"""What the disks below a path were asked for, for each durable write there.

Each engine overwrites blocks of a scratch file, and makes it longer, one write at a time; what is
seen from one write to the next is counted. What other processes ask of the same disk meanwhile
only adds to that, so the least of 16 writes counts: a flush that makes a write durable is sent
after the write, and by whomever, it is seen before the next one.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fuaio.aio import aligned_buffer, open_file
from fuaio.bench._device import counted
from fuaio.bench._target import place_at
from fuaio.bench._tracing import Asked, Tracing, TracingError, tracing
from fuaio.probe._known import ENGINES, make_fact
from fuaio.probe._target import Judged, judge_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from mmap import mmap

    from fuaio.bench._device import Device
    from fuaio.bench._target import Target
    from fuaio.probe._block import Block
    from fuaio.probe._record import Fact

    Write = Callable[[int], object]

__all__ = ["observe"]

PWRITEV2 = "pwritev2"
_BLOCK_BYTES = 4096
_WRITES = 16
_REGION_BYTES = _WRITES * _BLOCK_BYTES
_FORETOLD = {"fua": "one FUA write", "flush": "a flush", "nothing": "neither FUA nor a flush"}


class _Seen(NamedTuple):
    """What was seen for a write, or why nothing was: a reason and a detail."""

    asked: str = ""
    means: str = ""
    source: str = ""
    detail: str = ""
    why_not: tuple[str, str] = ("", "")


def observe(path: str, *, destroy_data: bool = False) -> list[Fact]:
    """Write durably at *path*, and return the facts of the section observation.

    Args:
        path: A folder, in which a scratch file is made for that time; of a file its folder; or a
            block device that nothing uses.
        destroy_data: The start of the block device may be overwritten.

    Raises:
        TargetError: It is none of these, or may not be written to.
    """
    judged = judge_target(Path("/"), path)
    target = judged.target
    disks = target.disks()
    seen: dict[str, _Seen] = {}
    if not disks:
        seen = dict.fromkeys(_names(), _Seen(why_not=target.why_no_blocks))
    else:
        with (
            place_at(path, _REGION_BYTES, destroy_data=destroy_data) as place,
            _watching(disks) as watch,
        ):
            end = place.region_bytes
            for who in (*ENGINES, PWRITEV2):
                seen[f"{who}_overwrite"] = _see(who, place, 0, watch)
                seen[f"{who}_append"] = _Seen(why_not=("no-append", "a block device does not grow"))
                if place.file_system:
                    seen[f"{who}_append"] = _see(who, place, end, watch)
                    end += _REGION_BYTES + _BLOCK_BYTES
    return [*(_fact(name, found) for name, found in seen.items()), _disagreements(judged, seen)]


def _names() -> list[str]:
    return [f"{who}_{what}" for who in (*ENGINES, PWRITEV2) for what in ("overwrite", "append")]


class _Watch:
    """Tracepoints where they can be had, else the counter of flushes."""

    def __init__(self, disks: list[Block], trace: Tracing | None, why_no_trace: str) -> None:
        self._disks = [counted(disk) for disk in disks]
        self._trace = trace
        self._why_no_trace = why_no_trace

    def see(self, write: Write, offsets: range) -> _Seen:
        """Write at each of *offsets*, and return the least that the disks were asked for."""
        if self._trace is not None:
            return self._see_requests(self._trace, write, offsets)
        for disk in self._disks:
            if disk.why_no_flushes:
                why = f"{self._why_no_trace}; {disk.why_no_flushes}"
                return _Seen(why_not=("not-learnt", why))
        return self._count_flushes(write, offsets)

    def _see_requests(self, trace: Tracing, write: Write, offsets: range) -> _Seen:
        with trace.recorded() as found:
            for offset in offsets:
                trace.mark()
                write(offset)
            trace.mark()
        if len(found) != len(offsets):
            return _Seen(why_not=("not-learnt", "the trace was overwritten by what others did"))
        counts = Counter(tuple(sorted(one.items())) for one in found)
        least, times = min(counts.items(), key=lambda item: sum(sum(one) for _, one in item[0]))
        words = {_words(asked) for _, asked in least} or {"nothing"}
        if len(words) > 1:
            words = {f"{name}: {_words(asked)}" for name, asked in least}
        flushes = any(asked.flushes for _, asked in least)
        fua = any(asked.fua_writes for _, asked in least)
        return _Seen(
            asked="; ".join(sorted(words)),
            means="flush" if flushes else "fua" if fua else "nothing",
            source="tracefs",
            detail=f"the least, for {times} of {len(offsets)} writes",
        )

    def _count_flushes(self, write: Write, offsets: range) -> _Seen:
        counts: Counter[int] = Counter()
        for offset in offsets:
            before = self._flushes()
            write(offset)
            counts[self._flushes() - before] += 1
        flushes, times = min(counts.items())
        return _Seen(
            asked=_number(flushes, "flush", "flushes"),
            means="flush" if flushes else "fua or nothing",
            source="/sys/block/*/stat",
            detail=f"the least, for {times} of {len(offsets)} writes; FUA is not seen: "
            f"{self._why_no_trace}",
        )

    def _flushes(self) -> int:
        return sum(_known(disk) for disk in self._disks)


def _known(disk: Device) -> int:
    flushes = disk.flushes()
    assert flushes is not None, disk
    return flushes


@contextmanager
def _watching(disks: list[Block]) -> Iterator[_Watch]:
    with ExitStack() as stack:
        try:
            watch = _Watch(disks, stack.enter_context(tracing(disks)), "")
        except TracingError as error:
            watch = _Watch(disks, None, str(error))
        yield watch


def _see(who: str, place: Target, first: int, watch: _Watch) -> _Seen:
    """Let one write go before: it may have to do what those behind need not."""
    block = aligned_buffer(_BLOCK_BYTES)
    behind = first + (_BLOCK_BYTES if first else 0)
    offsets = range(behind, behind + _REGION_BYTES, _BLOCK_BYTES)
    try:
        with _open(who, place, block) as write:
            write(first)
            return watch.see(write, offsets)
    except OSError as error:
        return _Seen(why_not=("not-learnt", f"{who}: {error.strerror or error}"))


@contextmanager
def _open(who: str, place: Target, block: mmap) -> Iterator[Write]:
    if who != PWRITEV2:
        with open_file(place.path, "r+", engine=who, direct=True) as file:
            yield lambda offset: file.pwrite(block, offset, fua=True)
        return
    fd = os.open(place.path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    try:
        yield lambda offset: os.pwritev(fd, [block], offset, os.RWF_DSYNC)
    finally:
        os.close(fd)


def _words(asked: Asked) -> str:
    parts = [
        _number(asked.fua_writes, "FUA write", "FUA writes"),
        _number(asked.writes, "write", "writes"),
        _number(asked.flushes, "flush", "flushes"),
    ]
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "nothing"


def _number(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _fact(name: str, seen: _Seen) -> Fact:
    key = ("observation", f"{name}_asked")
    reason, why = seen.why_not
    if reason:
        return make_fact(key, "unknown", reason, detail=why)
    return make_fact(key, "yes", "ok", value=seen.asked, source=seen.source, detail=seen.detail)


def _disagreements(judged: Judged, seen: dict[str, _Seen]) -> Fact:
    """Compare what was foretold with what was seen, where both are known."""
    compared, found = 0, []
    for what, verdicts in (("overwrite", judged.overwrites), ("append", judged.appends)):
        for engine, verdict in verdicts.items():
            name = f"{engine}_{what}"
            if not seen[name].means or verdict.asked == "unknown":
                continue
            compared += 1
            if verdict.asked not in seen[name].means.split(" or "):
                found.append(
                    f"{name}: foretold {_FORETOLD[verdict.asked]}, seen {seen[name].asked}"
                )
    if not compared:
        why = "there was nothing to compare"
        return make_fact(("observation", "disagreements"), "unknown", "not-learnt", detail=why)
    detail = "; ".join(found) or f"{compared} verdicts compared"
    return make_fact(("observation", "disagreements"), "yes", "ok", value=len(found), detail=detail)
