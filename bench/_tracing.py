"""What disks are asked for, by the kernel's tracepoints, in an instance of tracefs of its own.

Facts: ``block_rq_issue`` is a request that goes to a disk's driver, after what the block layer
made of FUA and flushes; a device without requests (zram, brd) has ``block_bio_queue`` instead. Of
the letters that say what it is, an F before the W is a flush first, an F behind it FUA, and FF a
flush alone (Linux kernel/trace/blktrace.c, blk_fill_rwbs). Of a device without requests that is
written as a write of no sectors, with a flush first. tracefs can be mounted on nothing
(fsopen, fsmount; since Linux 5.2), so that no mount is left whatever happens.
"""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from fuaio.bench._guard import afterwards

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fuaio.probe._block import Block

__all__ = ["Asked", "Tracing", "TracingError", "tracing"]

# asm-generic/unistd.h, which all 64-bit architectures but alpha share; linux/mount.h.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC, _CREATE = 1, 6

_REQUEST, _BIO = "block_rq_issue", "block_bio_queue"
_LINE = re.compile(rf" ({_REQUEST}|{_BIO}|tracing_mark_write): (.*)$", re.MULTILINE)
_ASKED = re.compile(r"(\d+),(\d+) (F?)(W|F)(F?)[A-Z]* (?:\d+ \([^)]*\) )?\d+ \+ (\d+)")


class TracingError(Exception):
    """Tracepoints cannot be had here; the message says why."""


class Asked(NamedTuple):
    """What a disk was asked for."""

    fua_writes: int = 0
    writes: int = 0
    flushes: int = 0

    def plus(self, flush_first: bool, writes: bool, fua: bool) -> Asked:
        """Return it with one request more."""
        return Asked(
            self.fua_writes + (writes and fua),
            self.writes + (writes and not fua),
            self.flushes + (flush_first or not writes),
        )


class Tracing:
    """The disks' tracepoints, off; `recorded` turns them on."""

    def __init__(self, instance: Path, disks: Sequence[Block]) -> None:
        self._instance = instance
        self._disks = {disk.number: disk.name for disk in disks}
        self._events: list[Path] = []
        # The usual clock is each processor's own: what two of them trace could change places.
        (instance / "trace_clock").write_text("mono")
        for event, has_requests in ((_REQUEST, True), (_BIO, False)):
            numbers = [disk.number for disk in disks if disk.has_requests() == has_requests]
            if numbers:
                folder = instance / "events" / "block" / event
                wanted = (f"dev == {_as_the_kernel_counts(number)}" for number in numbers)
                (folder / "filter").write_text(" || ".join(wanted))
                self._events.append(folder / "enable")

    @contextmanager
    def recorded(self) -> Iterator[list[dict[str, Asked]]]:
        """Fill the list, at the end of the block, with what was asked for from mark to mark."""
        found: list[dict[str, Asked]] = []
        (self._instance / "trace").write_text("")  # truncating empties it
        for event in self._events:
            event.write_text("1")
        try:
            yield found
        finally:
            for event in self._events:
                event.write_text("0")
        found += self._read()

    def mark(self) -> None:
        """Let what comes be told apart from what came."""
        (self._instance / "trace_marker").write_text("fuaio\n")

    def _read(self) -> Iterator[dict[str, Asked]]:
        """Give what the disks were asked for behind each mark but the last, by their names."""
        text = (self._instance / "trace").read_text("utf-8", "replace")
        asked: dict[str, Asked] | None = None
        for match in _LINE.finditer(text):
            if match[1] == "tracing_mark_write":
                if asked is not None:
                    yield asked
                asked = {}
            elif asked is not None and (words := _ASKED.match(match[2])):
                name = self._disks[f"{words[1]}:{words[2]}"]
                more = (words[3] == "F", words[4] == "W" and words[6] != "0", words[5] == "F")
                asked[name] = asked.get(name, Asked()).plus(*more)


@contextmanager
def tracing(disks: Sequence[Block]) -> Iterator[Tracing]:
    """Make an instance for the tracepoints of *disks*; it is gone with the block or the process.

    Raises:
        TracingError: Without the right, or the kernel has no tracefs or none of its events.
    """
    try:
        mount = _mount_tracefs()
    except OSError as error:
        raise TracingError(f"tracefs cannot be mounted: {error.strerror}") from None
    try:
        with _instance(mount) as instance:
            yield _traced(instance, disks)
    finally:
        os.close(mount)


def _traced(instance: Path, disks: Sequence[Block]) -> Tracing:
    try:
        return Tracing(instance, disks)
    except OSError as error:
        raise TracingError(f"this kernel does not trace disks: {error.strerror}") from None


@contextmanager
def _instance(mount: int) -> Iterator[Path]:
    instance = Path(f"/proc/self/fd/{mount}/instances/fuaio-{uuid4().hex}")
    with afterwards('rmdir "$1" 2>/dev/null', instance, pass_fds=[mount]):
        try:
            instance.mkdir()
        except OSError as error:
            raise TracingError(f"tracefs takes no instance: {error.strerror}") from None
        yield instance


def _mount_tracefs() -> int:
    context = _system_call(_FSOPEN, b"tracefs", _CLOEXEC)
    try:
        _system_call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _system_call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _system_call(number: int, *arguments: bytes | int | None) -> int:
    words = (ctypes.c_long(word) if isinstance(word, int) else word for word in arguments)
    result: int = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _as_the_kernel_counts(number: str) -> int:
    major, minor = map(int, number.split(":"))
    return major << 20 | minor
