"""A file every block of which is written at most once, and which of the writes were promised."""

from __future__ import annotations

from pathlib import Path

from core_files import BLOCK, make

from fuaio.aio import aligned_buffer


class Promises:
    """What is written where, who was told that it is there, and whether that is so."""

    def __init__(self, path: Path, count: int, *, direct: bool) -> None:
        self.path, self.count = path, count
        self._size = size = BLOCK if direct else 64
        self._data = data = memoryview(aligned_buffer(count * size))
        for number in range(count):
            self.piece(number)[:] = (number + 1).to_bytes(4, "little") * (size // 4)
        make(path, len(data))
        self.kept: set[int] = set()

    def offset(self, number: int) -> int:
        """Where block *number* belongs."""
        return number * self._size

    def piece(self, number: int) -> memoryview:
        """What is written there."""
        return self._data[self.offset(number) : self.offset(number + 1)]

    def keep(self, number: int, written: int) -> None:
        """Say that the write of block *number* has returned *written*."""
        assert written == self._size
        self.kept.add(number)

    def check(self) -> None:
        """Look at each block: nothing is half done, and what was promised is there."""
        assert self.count // 100 < len(self.kept) < self.count - self.count // 100
        content = self.path.read_bytes()
        for number in range(self.count):
            found = content[self.offset(number) : self.offset(number + 1)]
            assert found == self.piece(number) or (
                number not in self.kept and found == bytes(self._size)
            ), number


def cancels(engine: str, how: str) -> int:
    """How many awaits to cancel: 10,000, but where a disk takes a millisecond for each.

    Linux AIO writes and flushes one after the other inside io_submit, through the page cache.
    """
    is_slow = "direct" in how or ("fua" in how and engine == "linux_aio")
    return 1_000 if is_slow else 10_000
