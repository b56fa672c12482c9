"""What is measured, and what comes back: the records that a contestant and a run share.

A contestant is whoever can do a piece of `Work`: an engine of ours, fio, QEMU, another library.
Each does it in processes of its own, started anew for each round, so that none inherits the
caches, threads or garbage of another. Rounds are interleaved: each contestant does the work once
before any does it again.
"""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Answer",
    "Contestant",
    "Pattern",
    "Released",
    "Work",
    "behind",
    "decode_answer",
    "why_no_appends",
]


_MOST_BEHIND_BYTES = 1 << 30
_LEFT_FREE = 10  # no more than one part in so many of what is free is taken


class Pattern(StrEnum):
    """In which order the blocks of the region are overwritten."""

    RANDOM = "random"
    SEQUENTIAL = "sequential"
    APPEND = "append"
    """Behind the region: the file grows with each write. It is cut off before the next turn."""

    @property
    def words(self) -> str:
        """What is done."""
        return {
            Pattern.RANDOM: "overwrites at random",
            Pattern.SEQUENTIAL: "overwrites in sequence",
            Pattern.APPEND: "appends",
        }[self]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Overwrite blocks of a region that was written before, or append to it, for a while."""

    path: str
    """A device or a file that stays as long as the run; it may be one of /proc/PID/fd."""
    region_bytes: int
    block_bytes: int = 4096
    depth: int = 1
    """Writes in flight at once, of each job."""
    jobs: int = 1
    """Processes that write at the same time."""
    seconds: float = 1.0
    direct: bool = True
    pattern: Pattern = Pattern.RANDOM
    fill: int = 0xA5
    """The byte that every block consists of: the same for all, since a device may look at it."""
    latencies: bool = False
    """Take the time of single writes too, where the contestant can: not the rounds of IOPS."""


def behind(work: Work) -> Iterator[int]:
    """Give where to write next behind the region, for ever.

    The file is made to end where the region does, at first and whenever it has grown by 1 GiB or a
    tenth of the room that was free: what is measured must not fill the disk.
    """
    os.truncate(work.path, work.region_bytes)
    file_system = os.statvfs(work.path)
    room = min(_MOST_BEHIND_BYTES, file_system.f_bavail * file_system.f_frsize // _LEFT_FREE)
    blocks = max(1, room // work.block_bytes)
    while True:
        for number in range(blocks):
            yield work.region_bytes + number * work.block_bytes
        os.truncate(work.path, work.region_bytes)


def why_no_appends(work: Work) -> str:
    """Return why nobody could append there; empty where one can, or is not asked to."""
    if work.pattern is not Pattern.APPEND:
        return ""
    if work.jobs > 1:
        return "one process makes the file longer; measure appends with one job"
    return "a block device does not grow" if stat.S_ISBLK(os.stat(work.path).st_mode) else ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one job did."""

    writes: int
    elapsed_s: float
    cpu_s: float
    """User and system time, of its helpers too."""
    latencies_s: list[float] = []
    """Of single writes, where they were taken: not in the rounds that IOPS come from."""


def decode_answer(name: str, output: str) -> Answer:
    """Return the answer that a program printed as JSON.

    Raises:
        ValueError: It is none; before msgspec 0.21 its own error was no ValueError.
    """
    try:
        return msgspec.json.decode(output, type=Answer)
    except msgspec.DecodeError as error:
        raise ValueError(f"{name} printed no answer ({error}): {output[:200]!r}") from None


class Contestant(Protocol):
    """Somebody who can do work."""

    name: str
    """As the tables and --against have it."""

    def why_not(self, work: Work) -> str:
        """Return why it cannot do this work here, and what to do about it; empty where it can."""
        ...

    def command(self, work: Work, job: int) -> Sequence[str]:
        """Return the program that does it, as job number *job*, with all its arguments."""
        ...

    def answer(self, output: str, work: Work) -> Answer:
        """Return what the program printed as an answer.

        Raises:
            ValueError: It says nothing of that kind; the text tells what was seen.
        """
        ...


@runtime_checkable
class Released(Contestant, Protocol):
    """A contestant whose jobs begin together.

    Its program prints a line as soon as it could begin, and begins when a line comes on its
    standard input; it ends where that is closed instead.
    """

    is_released: Literal[True]
