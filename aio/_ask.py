"""What the report asks of this package: each engine's own answer, learnt by doing."""

from __future__ import annotations

import errno
from typing import NamedTuple

from fuaio.aio._core import ffi, lib
from fuaio.aio._engines import Refusal, laio_has_fua, luring_has_fua, new_queue, operations

__all__ = ["Answer", "alignment", "ask"]

_UNKNOWN_FLAG = 1 << 30  # no RWF_ flag has this bit (Linux 6.18, uapi/linux/fs.h)


class Answer(NamedTuple):
    """Whether an engine works here, and what the kernel says of write flags through it.

    Attributes:
        engine: Its name.
        errno: What the kernel said to its set-up; 0 where it works or was not asked.
        cause: Empty where it works, else not-built, sysctl, policy, limit or kernel.
        message: Empty where it works, else what was seen, why, and what to do.
        takes_dsync: Whether it takes ``RWF_DSYNC``; None where that could not be learnt.
        refuses_unknown: Whether it refuses a flag that nobody knows; None likewise.
    """

    engine: str
    errno: int
    cause: str
    message: str
    takes_dsync: bool | None
    refuses_unknown: bool | None


def ask(engine: str) -> Answer:
    """Try *engine*: open and close it, and write one byte to a memfd per question."""
    queue = new_queue(engine, fd=-1, depth=1)
    if isinstance(queue, Refusal):
        return Answer(engine, queue.errno, queue.cause, queue.message, None, None)
    lib.fuaio_queue_close(queue[0], 0)
    has_helper = {"linux_aio": laio_has_fua, "io_uring": luring_has_fua}
    if engine in has_helper and not has_helper[engine]():
        return Answer(
            engine, 0, "", "", None, None
        )  # without the helper no flag can be passed at all
    takes = _takes_flag(engine, lib.FUAIO_RWF_DSYNC)
    knows_all = _takes_flag(engine, _UNKNOWN_FLAG)
    return Answer(engine, 0, "", "", takes, None if knows_all is None else not knows_all)


def _takes_flag(engine: str, flag: int) -> bool | None:
    code = -lib.fuaio_engine_ask(operations(engine), flag)
    if code == 0:
        return True
    return False if code in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS) else None


def alignment(fd: int) -> tuple[int, int] | None:
    """Return what direct I/O on *fd* asks of memory and of offsets, in bytes; 0: there is none.

    Args:
        fd: Of a file or block device; one with ``O_PATH`` is enough.

    Returns:
        None where the kernel does not tell: before Linux 6.1, and on some file systems.
    """
    facts = ffi.new("struct fuaio_file_facts *")
    if not lib.fuaio_file_ask_alignment(fd, facts):
        return None
    return (int(facts.memory_align), int(facts.offset_align))
