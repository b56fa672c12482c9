"""Writes durably to what lies on dm-log-writes, and marks each acknowledgement in its log.

Usage: powercut_write.py PATH LOGGED ENGINE WAY STEPS

PATH is the device LOGGED (its name in /dev/mapper), or a file on it that is made and grows. WAY is
fua, write_then_flush or group_flush; none, which promises nothing, is there to see that the check
can fail.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys

from powercut_work import BLOCK_BYTES, GROUP, REGION_BLOCKS, content, steps

from fuaio.aio import BufferPool, prepare
from fuaio.bench._job import _open
from fuaio.bench._ours import Order, Way
from fuaio.bench._work import Work

# linux/dm-ioctl.h: struct dm_ioctl, and behind it struct dm_target_msg.
_DM_IOCTL = struct.Struct("=3I7IQ128s129s7x")
_DM_TARGET_MSG = 0xC138FD0E


class Log:
    """The log of a device, for marks."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._control = os.open("/dev/mapper/control", os.O_RDWR | os.O_CLOEXEC)

    def mark(self, text: str) -> None:
        """Put a mark, one word, behind what is in the log."""
        message = struct.pack("=Q", 0) + f"mark {text}".encode() + b"\0"
        size = _DM_IOCTL.size + len(message)
        head = _DM_IOCTL.pack(4, 0, 0, size, _DM_IOCTL.size, 0, 0, 0, 0, 0, 0, self._name, b"")
        fcntl.ioctl(self._control, _DM_TARGET_MSG, bytearray(head + message))


def main(path: str, logged: str, engine: str, way: str, count: str) -> None:
    """Write all steps."""
    is_file = not path.startswith("/dev/")
    region_bytes = REGION_BLOCKS * BLOCK_BYTES
    if is_file:
        prepare(path, region_bytes)
    log = Log(logged)
    grouped = way == Way.GROUP_FLUSH
    pool = BufferPool(GROUP if grouped else 1, BLOCK_BYTES)
    work = Work(path=path, region_bytes=region_bytes, depth=len(pool))
    write = 0
    with _open(Order(work=work, engine=engine, way=Way(way), job=0), pool) as file:
        log.mark("begin")
        chosen = steps(int(count), grouped=grouped, grows=is_file)
        for step, blocks in enumerate(chosen):
            for place, block in enumerate(blocks):
                write += 1
                _fill(pool.memory, place, content(write, block))
            offsets = [block * BLOCK_BYTES for block in blocks]
            if grouped:
                file.write_batch(offsets, pool.memory, durable="flush")
            else:
                file.pwrite(pool[0], offsets[0], fua=way != Way.NONE)
            log.mark(f"step-{step}")


def _fill(memory: memoryview, place: int, data: bytes) -> None:
    memory[place * BLOCK_BYTES : (place + 1) * BLOCK_BYTES] = data


if __name__ == "__main__":
    main(*sys.argv[1:])
