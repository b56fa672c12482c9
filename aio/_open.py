"""`open_file`, and its steps: from a path to a file on the engine that suits it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from fuaio.aio._core import ffi, lib
from fuaio.aio._engines import ENGINES, Refusal, is_native, new_queue
from fuaio.aio._errors import EngineUnavailableError
from fuaio.aio._file import File
from fuaio.aio._pool import exported_pool
from fuaio.aio._queue import Queue, close_left_over

if TYPE_CHECKING:
    from fuaio.aio._core import CData
    from fuaio.aio._pool import BufferPool

__all__ = [
    "Opened",
    "Path",
    "ask",
    "begin",
    "check_arguments",
    "open_any",
    "open_file",
    "queue_for",
    "sync_with_folder",
    "undo",
]

_log = logging.getLogger("fuaio")

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w+": os.O_RDWR | os.O_CREAT,  # emptied later, when nothing else can fail
    "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}
_NO_OFFSETS = "neither a regular file nor a block device"
_DEPTH_MOST = 32767  # io_uring takes 32768 entries, and one is the flush's


class Opened(NamedTuple):
    """A descriptor, its name, and whether opening it has made the file."""

    fd: int
    name: str
    created: bool


def open_file(
    path: Path | int,
    mode: str = "r",
    *,
    engine: str = "auto",
    direct: bool = False,
    depth: int = 32,
    pool: BufferPool | None = None,
) -> File:
    """Open a regular file or a block device for durable reads and writes at offsets.

    Args:
        path: A path, or a descriptor, which is duplicated. A duplicate shares its open file
            description: whoever else flushes there may be told of an error first.
        mode: ``r``, ``r+``, ``w+`` (create or empty) or ``x+`` (create), always binary. One that
            creates or empties syncs the file and then its folder before it returns.
        engine: ``io_uring``, ``linux_aio``, ``threads``, or ``auto``: the best that works here
            and suits the file; `File.engine` and a line on logger ``fuaio`` say which.
        direct: ``O_DIRECT``: requests pass the page cache by, must be aligned, and FUA pays.
            Of a descriptor it must be what the descriptor has.
        depth: Most requests in flight at once, 1 to 32767.
        pool: Memory that io_uring keeps registered for this file; where it refuses, requests go
            as without, and `File.statistics` says why.

    Raises:
        EngineUnavailableError: The named engine cannot be had here.
        ValueError: An argument is not one of those above, or the descriptor has ``O_APPEND``,
            with which Linux appends whatever the offset.
        OSError: The kernel's; ``EINVAL`` where the file system has no ``O_DIRECT``.
    """
    flags = check_arguments(mode, engine, depth)
    close_left_over()
    made = None
    memory = exported_pool(pool)
    opened = open_any(path, flags, direct)
    try:
        facts = ask(opened)
        made = queue_for(engine, opened.fd, depth, facts, pool=memory)
        begin(opened, facts, flags, mode)
    except BaseException:
        made = None  # with its last reference the engine is closed; the descriptor is still ours
        undo(opened)
        raise
    queue, engine = made
    return File(Queue(queue, opened.fd, opened.name, pool=memory), engine, facts, direct=direct)


def open_any(path: Path | int, flags: int, direct: bool) -> Opened:
    return _duplicate(path, flags, direct) if isinstance(path, int) else _open(path, flags, direct)


def begin(opened: Opened, facts: CData, flags: int, mode: str) -> None:
    """Empty the file and make its name durable, as the mode asks."""
    if mode.startswith("w") and not facts.block_device:
        os.ftruncate(opened.fd, 0)
    if flags & os.O_CREAT:
        sync_with_folder(opened.fd, opened.name)


def undo(opened: Opened) -> None:
    os.close(opened.fd)
    if opened.created:
        os.unlink(opened.name)


def check_arguments(mode: str, engine: str, depth: int) -> int:
    plain = str(mode).replace("b", "", 1)
    if plain not in _MODES:
        append = (
            "; appending ignores offsets on Linux: write at File.size instead"
            if "a" in mode
            else ""
        )
        raise ValueError(f"mode {mode!r} is not one of {', '.join(_MODES)}{append}")
    if engine not in (*ENGINES, "auto"):
        raise ValueError(f"engine {engine!r} is not one of auto, {', '.join(ENGINES)}")
    if not isinstance(depth, int) or not 1 <= depth <= _DEPTH_MOST:
        raise ValueError(
            f"depth {depth!r} is not a number from 1 to {_DEPTH_MOST} requests in flight"
        )
    return _MODES[plain]


def _open(path: Path, flags: int, direct: bool) -> Opened:
    name = os.fsdecode(path)
    _refuse_what_has_no_offsets(name)
    flags |= os.O_CLOEXEC | (os.O_DIRECT if direct else 0)
    created = False
    try:
        if flags & os.O_CREAT:
            fd, created = _create(name, flags)
        else:
            fd = os.open(name, flags)
    except OSError as error:
        if direct and error.errno == errno.EINVAL:
            error.strerror = "the file system has no O_DIRECT; open it with direct=False"
        raise
    return Opened(fd, name, created)


def _refuse_what_has_no_offsets(name: str) -> None:
    """Before it is opened: a FIFO would wait for its other end, a tape would rewind."""
    try:
        kind = os.stat(name).st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind) or stat.S_ISDIR(kind)):
        raise OSError(errno.ESPIPE, _NO_OFFSETS, name)


def _create(name: str, flags: int) -> tuple[int, bool]:
    try:
        fd = os.open(name, (flags | os.O_EXCL) & ~os.O_DIRECT, 0o666)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(name, flags, 0o666), False
    return (_reopen_direct(fd, name, flags) if flags & os.O_DIRECT else fd), True


def _reopen_direct(fd: int, name: str, flags: int) -> int:
    """Where O_DIRECT is refused, the kernel refuses it after it has created the file."""
    try:
        return os.open(name, flags & ~(os.O_CREAT | os.O_EXCL))
    except OSError:
        os.unlink(name)
        raise
    finally:
        os.close(fd)


def _duplicate(fd: int, flags: int, direct: bool) -> Opened:
    has = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_CREAT:
        raise ValueError(f"descriptor {fd} is open already; use mode r or r+")
    if has & os.O_APPEND:
        raise ValueError(
            f"descriptor {fd} has O_APPEND, with which Linux appends whatever the offset; "
            "open it without"
        )
    if has & os.O_ACCMODE not in (flags, os.O_RDWR):
        raise ValueError(f"descriptor {fd} was not opened for what the mode asks")
    if bool(has & os.O_DIRECT) != direct:
        raise ValueError(
            f"descriptor {fd} was opened {'with' if has & os.O_DIRECT else 'without'} O_DIRECT; "
            f"say direct={bool(has & os.O_DIRECT)}"
        )
    return Opened(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0), f"descriptor {fd}", created=False)


def ask(opened: Opened) -> CData:
    facts: CData = ffi.new("struct fuaio_file_facts *")
    code = -lib.fuaio_file_ask(opened.fd, facts)
    if code == errno.ESPIPE:
        raise OSError(code, _NO_OFFSETS, opened.name)
    if code:
        raise OSError(code, os.strerror(code), opened.name)
    return facts


def queue_for(
    engine: str,
    fd: int,
    depth: int,
    facts: CData,
    event_fd: int = -1,
    pool: CData | None = None,
) -> tuple[CData, str]:
    if engine != "auto":
        queue = new_queue(engine, fd=fd, depth=depth, facts=facts, event_fd=event_fd, pool=pool)
        if isinstance(queue, Refusal):
            raise EngineUnavailableError(engine, queue.cause, queue.message, queue.errno)
        return queue, engine
    for name in sorted(_suiting(facts), key=lambda name: not is_native(name)):
        queue = new_queue(name, fd=fd, depth=depth, facts=facts, event_fd=event_fd, pool=pool)
        if not isinstance(queue, Refusal):
            _log.debug("descriptor %d: engine %s", fd, name)
            return queue, name
        _log.debug("descriptor %d: not %s: %s", fd, name, queue.message)
    raise EngineUnavailableError("auto", queue.cause, queue.message, queue.errno)


def _suiting(facts: CData) -> list[str]:
    """Not Linux AIO on a file of the page cache: there io_submit writes itself, and blocks."""
    return [name for name in ENGINES if not (name == "linux_aio" and facts.page_cache)]


def sync_with_folder(fd: int, name: str) -> None:
    """Make the file and its name durable."""
    os.fsync(fd)
    folder = os.open(
        os.path.dirname(os.path.realpath(name)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    )
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
