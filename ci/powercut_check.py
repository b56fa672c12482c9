"""Whether every acknowledged byte is there, had the power gone at any mark of a log.

Usage: powercut_check.py LOG WHAT WAY STEPS GROWS SEED DEVICE SPACE MOUNTS <WRITTEN

The log is replayed entry by entry, and at each step's mark every block that was acknowledged until
then is compared, where it lies on the device. On a file system (WHAT is its type, or raw) that says
nothing of what leads to the blocks: so at MOUNTS of the marks, evenly, what is on DEVICE by then is
mounted by way of a snapshot, which the device SPACE has the room for, with all that the file system
does after a power cut, and the file read. WRITTEN is what powercut_write.py printed. Prints what
was checked; exits 1 if anything was not there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guest_devices import mapping, mounted, run, size_in_sectors
from powercut_log import Entry, read_log
from powercut_work import BLOCK_BYTES, content, steps

_MOST_SHOWN = 5


class Blocks:
    """The blocks of the file, as they are on the device at a point of the log."""

    def __init__(self, places: list[tuple[int, int, int]]) -> None:
        """*places* are the file's extents, whole blocks; without any, it is the device itself."""
        for extent in places:
            if any(number % BLOCK_BYTES for number in extent):
                raise ValueError(f"an extent is not of whole blocks: {extent}")
        self._of_place: dict[int, int] | None = None
        if places:
            self._of_place = {
                physical + at: (logical + at) // BLOCK_BYTES
                for logical, physical, length in places
                for at in range(0, length, BLOCK_BYTES)
            }
        self.held: dict[int, bytes] = {}
        self.touched: set[int] = set()

    def take(self, entry: Entry) -> None:
        """Take what an entry writes."""
        first = entry.offset - entry.offset % BLOCK_BYTES
        for place in range(first, entry.offset + len(entry.data), BLOCK_BYTES):
            block = place // BLOCK_BYTES if self._of_place is None else self._of_place.get(place)
            if block is not None:
                self._overlay(block, place, entry)

    def _overlay(self, block: int, place: int, entry: Entry) -> None:
        held = bytearray(self.held.get(block, bytes(BLOCK_BYTES)))
        begin, end = max(place, entry.offset), min(place + BLOCK_BYTES, _end(entry))
        held[begin - place : end - place] = entry.data[begin - entry.offset : end - entry.offset]
        self.held[block] = bytes(held)
        self.touched.add(block)


def _end(entry: Entry) -> int:
    return entry.offset + len(entry.data)


class Check:
    """What was found."""

    def __init__(self) -> None:
        self.marks = 0
        self.mounts = 0
        self.compared = 0
        self.lost: list[str] = []

    def compare(self, where: str, held: bytes, write: int, block: int) -> None:
        """Compare a block with what the *write* put into it."""
        self.compared += 1
        if held != content(write, block):
            self.lost.append(f"{where}: block {block} is not that of write {write}")


def main(
    log: str, what: str, way: str, count: str, grows: str, seed: str, device: str, space: str,
    mounts: str,
) -> int:  # fmt: skip
    """Replay and compare."""
    written = json.load(sys.stdin)
    blocks, check = Blocks(written["places"]), Check()
    chosen = steps(int(count), grouped=way == "group_flush", grows=grows == "1", seed=int(seed))
    every = max(1, int(count) // int(mounts)) if what != "raw" else 0
    acknowledged: dict[int, int] = {}
    write = 0
    with open(log, "rb") as file, open(device, "r+b", buffering=0) as replayed:
        for entry in read_log(file):
            if entry.mark is None:
                blocks.take(entry)
                os.pwrite(replayed.fileno(), entry.data, entry.offset)
                continue
            if not entry.mark.startswith("step-"):
                blocks.touched.clear()
                continue
            for block in next(chosen):
                write += 1
                acknowledged[block] = write
                blocks.touched.add(block)
            for block in blocks.touched & acknowledged.keys():
                held = blocks.held.get(block, b"")
                check.compare(entry.mark, held, acknowledged[block], block)
            blocks.touched.clear()
            check.marks += 1
            if every and check.marks % every == 0:
                os.fsync(replayed.fileno())
                with _after_the_power_cut(what, device, space) as path:
                    _read_all(path, entry.mark, acknowledged, check)
    return _report(check, int(count))


def _read_all(path: Path, mark: str, acknowledged: dict[int, int], check: Check) -> None:
    check.mounts += 1
    with path.open("rb") as file:
        for block, write in acknowledged.items():
            held = os.pread(file.fileno(), BLOCK_BYTES, block * BLOCK_BYTES)
            check.compare(f"{mark}, mounted", held, write, block)


@contextmanager
def _after_the_power_cut(what: str, device: str, space: str) -> Iterator[Path]:
    """Mount a snapshot of *device*: what a file system mends there is not to be replayed upon."""
    table = f"0 {size_in_sectors(device)} snapshot {device} {space} N 8"
    run("dd", "if=/dev/zero", f"of={space}", "bs=64k", "count=1")
    options = "nouuid" if what == "xfs" else "errors=remount-ro"
    with mapping("after", table) as snapshot, mounted(what, snapshot, options) as folder:
        yield folder / "file"


def _report(check: Check, count: int) -> int:
    for lost in check.lost[:_MOST_SHOWN]:
        print(lost, file=sys.stderr)
    if check.marks != count:
        print(f"{check.marks} marks of {count} are in the log", file=sys.stderr)
    json.dump(
        {
            "marks": check.marks,
            "mounts": check.mounts,
            "compared": check.compared,
            "lost": len(check.lost),
        },
        sys.stdout,
    )
    return 1 if check.lost or check.marks != count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
