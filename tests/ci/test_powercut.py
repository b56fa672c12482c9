"""What is left after a power cut, by logs of dm-log-writes that are made up here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from needs import need_command
from powercut_log import LogError, read_log
from powercut_work import BLOCK_BYTES, GROUP, REGION_BLOCKS, content, steps

CI = Path(__file__).parents[2] / "ci"
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SECTOR = 512


class MadeUpLog:
    """The log as the kernel writes it."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []

    def write(self, offset: int, data: bytes, flags: int = 0) -> None:
        """Add a write."""
        self._add(offset // SECTOR, len(data) // SECTOR, flags, b"")
        if not flags & DISCARD:
            self._entries[-1] += data

    def mark(self, text: str) -> None:
        """Add a mark."""
        self._add(0, 0, MARK, text.encode() + b"\0")

    def image(self) -> bytes:
        """Give the whole of it."""
        head = [0x6A736677736872, 1, len(self._entries)]
        first = b"".join(word.to_bytes(8, "little") for word in head)
        first += SECTOR.to_bytes(4, "little")
        return first.ljust(SECTOR, b"\0") + b"".join(self._entries)

    def _add(self, sector: int, length: int, flags: int, text: bytes) -> None:
        words = (sector, length, flags, len(text))
        header = b"".join(word.to_bytes(8, "little") for word in words)
        self._entries.append((header + text).ljust(SECTOR, b"\0"))


def test_entries_are_read_in_their_order() -> None:
    log = MadeUpLog()
    log.write(1024, b"a" * 512, FUA)
    log.mark("step-0")
    log.write(0, bytes(4096), DISCARD)
    log.write(4096, b"b" * 1024, FLUSH)
    first, mark, discard, last = read_log(io.BytesIO(log.image()))
    assert (first.offset, first.data, first.is_fua, first.is_flush) == (
        *(1024, b"a" * 512, True, False),
    )
    assert (mark.mark, mark.data) == ("step-0", b"")
    assert (discard.offset, discard.length, discard.data) == (0, 4096, b"")
    assert (last.offset, last.data, last.is_flush, last.mark) == (4096, b"b" * 1024, True, None)


@pytest.mark.parametrize("length", [0, 20, 511, 512 + 511, 512 + 512 + 100])
def test_a_log_that_ends_early_is_refused(length: int) -> None:
    log = MadeUpLog()
    log.write(0, b"a" * 512)
    with pytest.raises(LogError, match="in the middle"):
        list(read_log(io.BytesIO(log.image()[:length])))


def test_what_is_no_log_is_refused() -> None:
    with pytest.raises(LogError, match="no log of dm-log-writes"):
        list(read_log(io.BytesIO(bytes(4096))))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_step_never_writes_a_block_twice_and_a_seed_is_a_choice(grouped: bool) -> None:
    chosen = list(steps(50, grouped=grouped, grows=True))
    assert chosen == list(steps(50, grouped=grouped, grows=True))
    for blocks in chosen:
        assert len(set(blocks)) == len(blocks) == (GROUP if grouped else 1)
    behind = sorted(block for blocks in chosen for block in blocks if block >= REGION_BLOCKS)
    assert behind == list(range(REGION_BLOCKS, REGION_BLOCKS + len(behind)))
    assert behind


def checked(tmp_path: Path, log: MadeUpLog, count: int, what: str = "raw") -> dict[str, Any]:
    """Let the check have the log of *count* steps; it is not at the start of its disk."""
    (tmp_path / "log").write_bytes(bytes(SECTOR) + log.image())
    folder = tmp_path / "folder"
    folder.mkdir()
    cell = {"engine": "threads", "what": what, "way": "fua", "start": SECTOR, "file": "file"}
    done = subprocess.run(
        [sys.executable, CI / "powercut_check.py", tmp_path / "log", folder, str(count)],
        input=json.dumps(cell),
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert list(folder.iterdir()) == []
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if found["lost"] else 0)
    return found


def log_of(count: int, *, without: int = 0, torn: int = 0) -> MadeUpLog:
    """The log of *count* steps, in which one write is not there, or only half of it."""
    log = MadeUpLog()
    log.mark("begin")
    for step, (block,) in enumerate(steps(count, grouped=False, grows=False)):
        write = step + 1
        data = content(write, block)
        if write == torn:
            data = data[: BLOCK_BYTES // 2]
        if write != without:
            log.write(block * BLOCK_BYTES, data, FUA)
        log.mark(f"step-{step}")
    return log


def test_a_log_with_every_acknowledged_block_passes(tmp_path: Path) -> None:
    found = checked(tmp_path, log_of(40), 40)
    assert (found["marks"], found["lost"], found["shown"]) == (40, 0, [])
    assert found["compared"] >= 40


@pytest.mark.parametrize("how", ["without", "torn"])
def test_a_block_that_is_not_there_in_full_is_found_with_its_mark(tmp_path: Path, how: str) -> None:
    found = checked(tmp_path, log_of(40, **{how: 23}), 40)
    assert found["shown"][0].startswith("step-22: block ")
    assert found["shown"][0].endswith("is not that of write 23")


@pytest.mark.parametrize("flags", [0, DISCARD])
def test_a_block_that_something_else_overwrites_later_is_found(tmp_path: Path, flags: int) -> None:
    log = log_of(40)
    *_, (block,) = steps(40, grouped=False, grows=False)
    log.write(block * BLOCK_BYTES, bytes(BLOCK_BYTES), flags)
    log.mark("step-40")
    found = checked(tmp_path, log, 41)
    assert f"step-40: block {block} is not that of write 40" in found["shown"]


def test_steps_that_are_not_marked_are_missed(tmp_path: Path) -> None:
    found = checked(tmp_path, log_of(39), 40)
    assert found["shown"] == ["39 marks of 40 are in the log"]


def log_of_file_system(scratch: Path, *, without: str = "") -> MadeUpLog:
    """The log of an ext4, made without mounting it, whose file has what two steps write."""
    folder, image = scratch / "content", scratch / "image"
    folder.mkdir()
    with (folder / "file").open("wb") as file:
        for write, (block,) in enumerate(steps(2, grouped=False, grows=True), 1):
            file.seek(block * BLOCK_BYTES)
            file.write(content(write, block))
    if without == "name":
        (folder / "file").rename(folder / "other")
    with image.open("wb") as empty:
        empty.truncate(64 << 20)
    command = [
        need_command("mkfs.ext4", "e2fsprogs"),
        "-q",
        "-b",
        str(BLOCK_BYTES),
        "-d",
        str(folder),
        str(image),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    need_command("mkfs.xfs", "xfsprogs")
    log, data = MadeUpLog(), image.read_bytes()
    for offset in range(0, len(data), BLOCK_BYTES):
        piece = data[offset : offset + BLOCK_BYTES]
        if any(piece) and not (without == "superblock" and offset == 0):
            log.write(offset, piece)
    log.mark("step-0")
    log.mark("step-1")
    return log


@pytest.mark.root
def test_a_file_is_found_by_way_of_its_file_system(tmp_path: Path) -> None:
    found = checked(tmp_path, log_of_file_system(tmp_path), 2, "ext4")
    assert (found["marks"], found["compared"], found["lost"]) == (2, 3, 0), found["shown"]


@pytest.mark.root
@pytest.mark.parametrize(
    ("without", "words"), [("name", "No such file"), ("superblock", "mount -t ext4")]
)  # fmt: skip
def test_a_file_that_its_file_system_does_not_lead_to_is_lost(
    tmp_path: Path, without: str, words: str
) -> None:
    found = checked(tmp_path, log_of_file_system(tmp_path, without=without), 2, "ext4")
    assert [words in line for line in found["shown"]] == [True, True]
