"""What those who are measured against us have in common.

A peer's program prints a line when it could begin, begins when a line comes on its standard
input, and prints an `Answer` as JSON: the flushes of a device are counted from begin to end alone.
"""

from __future__ import annotations

import resource
import stat
import sys
from pathlib import Path
from typing import Literal

import msgspec

from fuaio.bench._work import Answer, Work, decode_answer

__all__ = ["Order", "Peer", "cpu_s", "is_block_device", "wait_for_release"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer's program is told, as JSON."""

    peer: str
    work: Work
    job: int
    program: str = ""
    """The path of the program that it runs, where it runs one."""


class Peer:
    """A contestant whose program answers as `Answer` has it."""

    is_released: Literal[True] = True

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, output: str, work: Work) -> Answer:
        """Return the answer in *output*.

        Raises:
            ValueError: There is none.
        """
        return decode_answer(self.name, output)

    def _command(self, module: str, work: Work, job: int, program: str = "") -> list[str]:
        order = Order(peer=self.name, work=work, job=job, program=program)
        return [sys.executable, "-m", module, msgspec.json.encode(order).decode()]


def wait_for_release() -> None:
    """Say that we could begin, and wait until we may.

    Raises:
        EOFError: Nobody waits for us any more.
    """
    print("ready", flush=True)
    if not sys.stdin.readline():
        raise EOFError("standard input was closed before the round began")


def cpu_s(whose: int) -> float:
    """Return the user and system time of RUSAGE_SELF or RUSAGE_CHILDREN, of all threads."""
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def is_block_device(path: str) -> bool:
    """Return whether *path* leads to one."""
    return stat.S_ISBLK(Path(path).stat().st_mode)
