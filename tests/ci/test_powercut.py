"""What is left after a power cut, by logs of dm-log-writes that are made up here."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
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
    assert (discard.offset, discard.data) == (0, bytes(4096))
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
    chosen = list(steps(50, grouped=grouped, grows=True, seed=3))
    assert chosen == list(steps(50, grouped=grouped, grows=True, seed=3))
    for blocks in chosen:
        assert len(set(blocks)) == len(blocks) == (GROUP if grouped else 1)
    behind = sorted(block for blocks in chosen for block in blocks if block >= REGION_BLOCKS)
    assert behind == list(range(REGION_BLOCKS, REGION_BLOCKS + len(behind)))
    assert behind


def checked(tmp_path: Path, log: MadeUpLog, count: int) -> subprocess.CompletedProcess[str]:
    """Let the check have the log of *count* steps on a raw device."""
    (tmp_path / "log").write_bytes(log.image())
    (tmp_path / "device").write_bytes(bytes(1 << 20))
    words = ["raw", "fua", str(count), "0", "7", str(tmp_path / "device"), "/nowhere", "0"]
    return subprocess.run(
        [sys.executable, str(CI / "powercut_check.py"), str(tmp_path / "log"), *words],
        input=json.dumps({"places": []}),
        capture_output=True,
        text=True,
        check=False,
    )


def log_of(count: int, *, without: int = 0, torn: int = 0) -> MadeUpLog:
    """The log of *count* steps, in which one write is not there, or only half of it."""
    log = MadeUpLog()
    log.mark("begin")
    for step, (block,) in enumerate(steps(count, grouped=False, grows=False, seed=7)):
        write = step + 1
        data = content(write, block)
        if write == torn:
            data = data[: BLOCK_BYTES // 2]
        if write != without:
            log.write(block * BLOCK_BYTES, data, FUA)
        log.mark(f"step-{step}")
    return log


def test_a_log_with_every_acknowledged_block_passes(tmp_path: Path) -> None:
    done = checked(tmp_path, log_of(40), 40)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["marks"], found["lost"]) == (40, 0)
    assert found["compared"] >= 40


@pytest.mark.parametrize("how", ["without", "torn"])
def test_a_block_that_is_not_there_in_full_is_found_with_its_mark(tmp_path: Path, how: str) -> None:
    done = checked(tmp_path, log_of(40, **{how: 23}), 40)
    assert done.returncode == 1
    assert done.stderr.startswith("step-22: block ")
    assert done.stderr.rstrip().endswith("is not that of write 23")


def test_a_block_that_something_else_overwrites_later_is_found(tmp_path: Path) -> None:
    log = log_of(40)
    (block,) = next(steps(40, grouped=False, grows=False, seed=7))
    log.write(block * BLOCK_BYTES, bytes(512))
    log.mark("step-40")
    done = checked(tmp_path, log, 41)
    assert done.returncode == 1


def test_steps_that_are_not_marked_are_missed(tmp_path: Path) -> None:
    done = checked(tmp_path, log_of(39), 40)
    assert done.returncode == 1
    assert "39 marks of 40 are in the log" in done.stderr
