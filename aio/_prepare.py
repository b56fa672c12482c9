"""`prepare`: a file whose blocks are written, since only what was written can be overwritten."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from fuaio.aio._open import sync_with_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuaio.aio._open import Path

__all__ = ["fill", "prepare"]

_PIECE = 1 << 20  # bytes by one call


def prepare(
    path: Path, size_bytes: int, *, progress: Callable[[int], object] | None = None
) -> None:
    """Create the file *path* and write zeros into all of it; return once that is durable.

    File systems use FUA only for the overwrite of a block that was written before: a new file's
    first writes, also those to space that fallocate(2) gave, need a journal and a flush. In this
    file each write is such an overwrite. It is written through the page cache, without a flush
    until the end, then the file and its folder are synced.

    Args:
        path: A name that does not exist yet.
        size_bytes: How long the file becomes, at least 1.
        progress: Called now and then with how many bytes were written since the last time.

    Raises:
        ValueError: *size_bytes* is not positive.
        FileExistsError: *path* exists; it is left alone.
        OSError: The kernel's, ``ENOSPC`` among them; the file is removed again.
    """
    if size_bytes < 1:
        raise ValueError(f"a file of {size_bytes} bytes has no block to prepare; ask for more")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fill(fd, size_bytes, progress=progress)
        sync_with_folder(fd, os.fsdecode(path))
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def _require_room(fd: int, size_bytes: int) -> None:
    """Refuse what cannot fit, so that a slip of the pen does not fill a disk first."""
    file_system = os.fstatvfs(fd)
    is_told = stat.S_ISREG(os.fstat(fd).st_mode) and file_system.f_blocks > 0
    if is_told and size_bytes > file_system.f_bfree * file_system.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill(
    fd: int, size_bytes: int, *, byte: int = 0, progress: Callable[[int], object] | None = None
) -> None:
    """Write *byte* into the first *size_bytes* of *fd*; nothing is flushed.

    Raises:
        OSError: The kernel's; ``ENOSPC`` before anything is written where there is no room for it.
    """
    _require_room(fd, size_bytes)
    piece = bytes([byte]) * min(_PIECE, size_bytes)
    offset = 0
    while offset < size_bytes:
        written = os.pwrite(fd, memoryview(piece)[: size_bytes - offset], offset)
        offset += written
        if progress is not None:
            progress(written)
