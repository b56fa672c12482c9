"""A device that loses some blocks, and the record of what was said of each write to it.

The device lies over a file in memory. Where a block is to be lost, the file has a hole, and the
memory is full: the device fails every write to it, and all others succeed, so that what a
device really has can be read in that file, past every cache.

Blocks are written with an unwritten one between each two, so that no two make one request of the
device: of a request that its memory took only in part a loop device says that it succeeded
(measured on Linux 6.18: of 8 KiB at once, O_DIRECT and O_DSYNC, only the first 4 were there).
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from block_devices import failing_loop_device, mounted
from needs import need_command, need_root

from fuaio.aio import BatchError, File, aligned_buffer

BLOCK = mmap.PAGESIZE  # what a memory file system gives and takes at once
BLOCKS = 512
FILE_BYTES = 2 * BLOCK * BLOCKS
DEVICE_BYTES = 4096 * BLOCK
THREADS = 16
BATCHES = 4
NOTHING = bytes(BLOCK)

# Linux uapi/linux/falloc.h and fiemap.h.
KEEP_SIZE, PUNCH_HOLE = 1, 2
FS_IOC_FIEMAP, FIEMAP_SYNC = 0xC020660B, 1
MAP_HEAD, MAP_EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQ16xI12x")


@dataclass(frozen=True, slots=True)
class Target:
    """A file or device that loses writes to some of its blocks."""

    path: Path
    backing: Path
    places: tuple[int, ...]
    """Where on the device each block lies, in bytes."""

    def offset(self, block: int) -> int:
        """Where in `path` the *block* lies, in bytes."""
        return 2 * BLOCK * block

    def loses(self, block: int) -> bool:
        """Whether writes to *block* fail: to three in four."""
        return block % 4 != 0

    def on_device(self, block: int) -> bytes:
        """What the device has of *block*."""
        descriptor = os.open(self.backing, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, BLOCK, self.places[block])
        finally:
            os.close(descriptor)


def _map(path: Path) -> tuple[int, ...]:
    """Ask the file system where on its device the blocks of a file lie."""
    with path.open("rb") as file:
        head = MAP_HEAD.pack(0, FILE_BYTES, FIEMAP_SYNC, 0, BLOCKS, 0)
        answer = bytearray(head + bytes(MAP_EXTENT.size * BLOCKS))
        fcntl.ioctl(file, FS_IOC_FIEMAP, answer)
    count = MAP_HEAD.unpack_from(answer)[3]
    places: dict[int, int] = {}
    for number in range(count):
        at = MAP_HEAD.size + number * MAP_EXTENT.size
        logical, physical, length, _ = MAP_EXTENT.unpack_from(answer, at)
        places |= {logical + step: physical + step for step in range(0, length, BLOCK)}
    return tuple(places[2 * BLOCK * block] for block in range(BLOCKS))


def _write_on_ext4(device: Path, folder: Path, stack: ExitStack) -> Path:
    mkfs = need_command("mkfs.ext4", "e2fsprogs")
    subprocess.run([mkfs, "-q", "-F", "-b", str(BLOCK), device], check=True)
    path = stack.enter_context(mounted("ext4", device, folder / "mounted")) / "written"
    with path.open("xb") as file:
        file.write(b"\xff" * FILE_BYTES)
        file.flush()
        os.fsync(file.fileno())
    return path


def _punch(backing: Path, places: list[int]) -> None:
    """Give the whole file memory, and take it away at *places*."""
    libc = ctypes.CDLL(None, use_errno=True)
    with backing.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, DEVICE_BYTES)
        for place in places:
            at, length = ctypes.c_int64(place), ctypes.c_int64(BLOCK)
            if libc.fallocate64(file.fileno(), KEEP_SIZE | PUNCH_HOLE, at, length) < 0:
                raise OSError(ctypes.get_errno(), "no hole can be made", str(backing))


@contextmanager
def losing_target(folder: Path, kind: str) -> Iterator[Target]:
    """A raw device or a fully written file on ext4 that loses three blocks in four."""
    need_root()
    with ExitStack() as stack:
        failing = stack.enter_context(
            failing_loop_device(
                folder, size_bytes=DEVICE_BYTES, memory_bytes=DEVICE_BYTES + 64 * BLOCK
            )
        )
        backing = failing.memory_folder / "backing"
        if kind == "raw":
            path, places = failing.device, tuple(range(0, FILE_BYTES, 2 * BLOCK))
        else:
            path = _write_on_ext4(failing.device, folder, stack)
            places = _map(path)
        target = Target(path, backing, places)
        _punch(backing, [place for block, place in enumerate(places) if target.loses(block)])
        failing.fill()
        yield target


@dataclass(frozen=True, slots=True)
class Said:
    """What one call said of the block that it wrote: None is success."""

    block: int
    data: bytes
    error: OSError | None


Write = Callable[[File, mmap.mmap, int], None]
WriteAll = Callable[[File, Target, list[int]], list[Said]]


def _content(block: int) -> mmap.mmap:
    data = aligned_buffer(BLOCK)
    data[:] = struct.pack("=QQ", block, id(data)) * (BLOCK // 16)
    return data


def _attempt(file: File, write: Write, target: Target, block: int) -> Said:
    data = _content(block)
    try:
        write(file, data, target.offset(block))
    except OSError as error:
        return Said(block, bytes(data), error)
    return Said(block, bytes(data), None)


def write_at_once(file: File, write: Write, target: Target, blocks: list[int]) -> list[Said]:
    """Let 16 threads write *blocks* of *target*, each once, and give what each call said."""
    left = deque(blocks)
    start = threading.Barrier(THREADS)

    def work(_: int) -> list[Said]:
        start.wait()
        said: list[Said] = []
        while True:
            try:
                block = left.popleft()
            except IndexError:
                return said
            said.append(_attempt(file, write, target, block))

    with ThreadPoolExecutor(THREADS) as pool:
        return [one for some in pool.map(work, range(THREADS)) for one in some]


def write_in_batches(
    file: File, durable: Literal["fua", "flush", "auto"], target: Target, blocks: list[int]
) -> list[Said]:
    """Let threads write *blocks* of *target* in a batch each, and give what was said of each."""
    start = threading.Barrier(BATCHES)

    def work(part: int) -> list[Said]:
        mine = blocks[part::BATCHES]
        data = [_content(block) for block in mine]
        errors: dict[int, Exception] = {}
        start.wait()
        try:
            file.write_batch([target.offset(block) for block in mine], data, durable=durable)
        except BatchError as error:
            errors = error.failures
        said = []
        for number, block in enumerate(mine):
            failure = errors.get(number)
            assert failure is None or isinstance(failure, OSError)
            said.append(Said(block, bytes(data[number]), failure))
        return said

    with ThreadPoolExecutor(BATCHES) as pool:
        return [one for some in pool.map(work, range(BATCHES)) for one in some]
