"""Whether every acknowledged byte is there, had the power gone at any mark of a log.

Usage: powercut_check.py LOG FOLDER STEPS <CELLS

CELLS are lines of guest_powercut.py, whose logs are in the file LOG. A log is replayed entry by
entry into a file of memory. At each step's mark a file system on it is mounted, with all that it
does after a power cut, and every block that was acknowledged until then compared; of a raw device
the blocks are compared as they are. What a mount mends is not to be replayed upon, so what is
mounted is a copy, which shares what it does not change. All of it is mounted on FOLDER and below;
with unshare --mount it is gone too if this is killed. Nobody may remove FOLDER meanwhile: the
kernel then keeps together what is mounted in it, and a loop device in between for ever. Prints a
line of JSON for each cell; exits 1 if anything was not there.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from guest_devices import CannotError, run
from powercut_log import Entry, read_log
from powercut_work import BLOCK_BYTES, DEVICE_BYTES, content, steps

_MOST_SHOWN = 5
_FICLONE = 0x40049409  # linux/fs.h
_SHARED_BYTES = 4 << 30  # for it, and what a copy changes


@contextmanager
def _mounted(*words: str | Path, on: Path) -> Iterator[Path]:
    on.mkdir()
    try:
        run("mount", *words, on)
        try:
            yield on
        finally:
            run("umount", on)
    finally:
        on.rmdir()


@contextmanager
def sharing_in_memory(folder: Path) -> Iterator[Path]:
    """A file system in memory in which a copy of a file shares what it has in common with it."""
    run("mount", "-t", "tmpfs", "tmpfs", folder)
    try:
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(_SHARED_BYTES)
        run("mkfs.xfs", "-q", "-m", "reflink=1", image)
        with _mounted("-o", "loop", image, on=folder / "shared") as shared:
            yield shared
    finally:
        run("umount", folder)


class Replayed:
    """What a device would hold, had the power gone at a point of its log."""

    def __init__(self, folder: Path) -> None:
        """Nothing is on it yet; *folder* is for it and for copies of it."""
        self._device, self._copy, self._mount_point = (
            folder / name for name in ("device", "copy", "mounted")
        )
        with self._device.open("wb") as file:
            file.truncate(DEVICE_BYTES)
        self._file = self._device.open("r+b", buffering=0)

    def close(self) -> None:
        """Give it up."""
        self._file.close()
        self._device.unlink()

    def take(self, entry: Entry) -> None:
        """Take what an entry writes or discards."""
        if entry.length and not entry.data:
            words = ("--offset", str(entry.offset), "--length", str(entry.length))
            run("fallocate", "--punch-hole", *words, self._device)
        os.pwrite(self._file.fileno(), entry.data, entry.offset)

    @contextmanager
    def after_the_power_cut(self, what: str, file: str) -> Iterator[Path]:
        """Give where to read: of a file system of type *what* the *file*, else the device."""
        if what == "raw":
            yield self._device
            return
        with self._copy.open("wb") as copy:
            fcntl.ioctl(copy.fileno(), _FICLONE, self._file.fileno())
        with _mounted("-t", what, "-o", "loop", self._copy, on=self._mount_point) as folder:
            yield folder / file


class Check:
    """What was found of one cell."""

    def __init__(self) -> None:
        self.marks = 0
        self.compared = 0
        self.lost: list[str] = []
        self._acknowledged: dict[int, tuple[int, bytes]] = {}
        self._write = 0

    def acknowledge(self, blocks: list[int]) -> None:
        """From here on what was written to *blocks* has to be there."""
        self.marks += 1
        for block in blocks:
            self._write += 1
            self._acknowledged[block] = self._write, content(self._write, block)

    def compare(self, mark: str, path: Path) -> None:
        """Compare every acknowledged block with what is at *path*."""
        with path.open("rb", buffering=0) as file:
            for block, (write, data) in self._acknowledged.items():
                self.compared += 1
                if os.pread(file.fileno(), BLOCK_BYTES, block * BLOCK_BYTES) != data:
                    self.lost.append(f"{mark}: block {block} is not that of write {write}")


def checked(log: Path, replayed: Replayed, count: int, cell: dict[str, Any]) -> Check:
    """Replay the log of a cell, and compare at each of *count* marks."""
    check, what = Check(), cell["what"]
    kind = what.partition("-")[0]
    chosen = steps(count, grouped=cell["way"] == "group_flush", grows=what != "raw")
    with log.open("rb") as file:
        file.seek(cell["start"])
        for entry in read_log(file):
            if entry.mark is None:
                replayed.take(entry)
            elif entry.mark.startswith("step-"):
                check.acknowledge(next(chosen))
                try:
                    with replayed.after_the_power_cut(kind, cell["file"]) as path:
                        check.compare(entry.mark, path)
                except (CannotError, OSError) as error:
                    check.lost.append(f"{entry.mark}: {error}")
    return check


def main(log: str, folder: str, count: str) -> int:
    """Check all cells."""
    failed = False
    for line in sys.stdin:
        cell = json.loads(line)
        with ExitStack() as stack:
            if cell["what"] == "raw":
                place = Path(stack.enter_context(TemporaryDirectory()))
            else:
                place = stack.enter_context(sharing_in_memory(Path(folder)))
            replayed = Replayed(place)
            stack.callback(replayed.close)
            check = checked(Path(log), replayed, int(count), cell)
        if check.marks != int(count):
            check.lost.append(f"{check.marks} marks of {count} are in the log")
        failed = failed or bool(check.lost)
        found = {"marks": check.marks, "compared": check.compared, "lost": len(check.lost)}
        print(json.dumps({**cell, **found, "shown": check.lost[:_MOST_SHOWN]}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
