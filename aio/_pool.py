"""Memory made once for many requests, which io_uring then keeps pinned.

Facts: io_uring finds registered memory by its address. Were that unmapped, what is mapped there
next would not be what it writes. And a page that a fork shares is copied by whoever writes to it
first: a request in flight then fills the page of the other process.

What this means here: an open file holds an export of its pool, so that it cannot be unmapped; and
a child is given none of the pages, but empty ones in their place, not a hole that its next
mapping would fill.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from fuaio.aio._buffers import aligned_buffer, exported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fuaio.aio._core import CData

__all__ = ["BufferPool", "exported_pool"]

_MADV_WIPEONFORK = 18  # Linux uapi/asm-generic/mman-common.h, since 4.14


class BufferPool:
    """Buffers of one length, side by side: made once, used for many requests.

        pool = BufferPool(16, 4096)
        with open_file(path, "r+", direct=True, pool=pool) as file:
            pool[0][:5] = b"hello"
            file.pwrite(pool[0], 0, fua=True)

    Any memory of it can be given to any file. A file that was opened with it on io_uring has it
    registered: a request of one buffer that lies in it then spares the kernel looking up its pages.
    The pool may be opened with several files, and outlives what uses it.

    A forked child finds zeros in it: what it held is the parent's alone.

    Args:
        count: Buffers, at least 1.
        length: Bytes of each. The first begins on a page, so that with a multiple of
            `File.memory_align` and `File.offset_align` all are aligned for ``O_DIRECT``.

    Raises:
        ValueError: *count* or *length* is not positive.

    Source:
        io_uring_register(2), IORING_REGISTER_BUFFERS; madvise(2), MADV_WIPEONFORK.
    """

    def __init__(self, count: int, length: int) -> None:
        if count < 1 or length < 1:
            raise ValueError(
                f"a pool of {count} buffers of {length} bytes: ask for at least 1 of each"
            )
        memory = aligned_buffer(count * length)
        try:
            memory.madvise(_MADV_WIPEONFORK)
        except OSError:  # before Linux 4.14
            memory.madvise(mmap.MADV_DONTFORK)
        self._mapping = memory
        self._length = length
        self._memory = memoryview(memory)
        self._buffers = [
            self._memory[start : start + length] for start in range(0, count * length, length)
        ]

    @property
    def length(self) -> int:
        """The length of each buffer, in bytes."""
        return self._length

    @property
    def mapping(self) -> mmap.mmap:
        """The memory itself, of which an open file holds an export.

        Not a view of it: in a cycle Python clears one that is still exported (3.11), and crashes.
        """
        return self._mapping

    @property
    def memory(self) -> memoryview:
        """All buffers as one, which `File.write_batch` cuts again."""
        return self._memory

    def __len__(self) -> int:
        """How many buffers there are."""
        return len(self._buffers)

    def __getitem__(self, number: int) -> memoryview:
        """Buffer *number*, writable."""
        return self._buffers[number]

    def __iter__(self) -> Iterator[memoryview]:
        """Each buffer in turn."""
        return iter(self._buffers)

    def __repr__(self) -> str:
        """How many, of how many bytes."""
        return f"BufferPool({len(self)}, {self._length})"


def exported_pool(pool: BufferPool | None) -> CData | None:
    """Export the memory of *pool*, where there is one.

    Raises:
        TypeError: It is no pool.
    """
    if pool is None:
        return None
    if not isinstance(pool, BufferPool):
        raise TypeError(f"pool is a {type(pool).__name__}; pass a BufferPool, or leave it out")
    return exported(pool.mapping)
