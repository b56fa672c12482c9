"""Our own contestants: an engine, and a way to make its writes durable."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from fuaio.bench._work import Answer, Work, decode_answer, why_no_appends

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Order", "Ours", "Way"]


class Way(StrEnum):
    """How writes become durable."""

    WRITE_THEN_FLUSH = "write_then_flush"
    """Two requests for each write; flushes that wait at the same time become one."""

    FUA = "fua"
    """One request that carries the flag, where the engine has it."""

    GROUP_FLUSH = "group_flush"
    """Plain writes, and a flush for as many as are in flight at once."""

    AUTO = "auto"
    """One of the two before, by what is measured on the file."""

    NONE = "none"
    """Not durable: what the device and the kernel give without."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a job of ours is told."""

    work: Work
    engine: str
    way: Way
    job: int


class Ours:
    """An engine of fuaio, and a way."""

    is_released: Literal[True] = True

    def __init__(self, engine: str, way: Way) -> None:
        self.engine = engine
        self.way = way
        self.name = name_of(engine, way)

    def why_not(self, work: Work) -> str:
        """Return why the engine cannot do it here."""
        from fuaio.aio import Fua, available, open_file

        if self.engine not in available().engines:
            return available().why_not[self.engine]
        if reason := why_no_appends(work):
            return reason
        if self.engine == "threads" and work.depth > 1:
            return "the threads engine takes one write at a time from a batch; measure it with jobs"
        with open_file(work.path, engine=self.engine, direct=work.direct) as file:
            if self.way is not Way.NONE and file.can_fua is Fua.NONE:
                return "nothing is durable on this file system, it is memory; name a disk's folder"
        return ""

    def command(self, work: Work, job: int) -> Sequence[str]:
        """Return the program, which writes what it is told in its argument."""
        order = Order(work=work, engine=self.engine, way=self.way, job=job)
        return [sys.executable, "-m", "fuaio.bench._job", msgspec.json.encode(order).decode()]

    def answer(self, output: str, work: Work) -> Answer:
        """Return what the program printed.

        Raises:
            ValueError: It is no answer.
        """
        return decode_answer(self.name, output)


def name_of(engine: str, way: Way) -> str:
    """Return the contestant's name."""
    return f"fuaio:{engine}:{way}"
