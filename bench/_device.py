"""The disk below a file or a block device, and its count of flushes.

Facts: field 16 of ``/sys/dev/block/MAJOR:MINOR/stat`` counts the flushes that the block layer
sent (Linux Documentation/block/stat.rst; since 5.5). Those of a partition are counted at its
disk. A device that takes no requests of the block layer's (device mapper, md, zram: it has no
folder ``mq``) passes flushes on uncounted. btrfs, overlayfs and what is in memory give files a
device number of their own, which has no folder here.

What this means here: where the counter does not tell, there is a reason, and never 0.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from fuaio.probe._block import Block, block_by_number

__all__ = ["Device", "counted", "device_below"]

_FLUSHES = 15  # of the fields of stat, from 0


class Device(NamedTuple):
    """A disk, if it is known, and why its flushes cannot be counted (empty: they can)."""

    block: Block | None
    why_no_flushes: str

    @property
    def name(self) -> str:
        """The kernel's; empty where the disk is not known."""
        return "" if self.block is None else self.block.name

    def setting(self, name: str) -> str:
        """Return what sysfs has in the disk's file *name*; empty where it has none."""
        return "" if self.block is None else self.block.setting(name) or ""

    def flushes(self) -> int | None:
        """Return how many flushes it was sent until now; None where that is not known."""
        if self.why_no_flushes:
            return None
        return int(self.setting("stat").split()[_FLUSHES])


def device_below(fd: int) -> Device:
    """Return the disk below the descriptor's file, or that it is itself."""
    status = os.fstat(fd)
    number = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    block = block_by_number(Path("/"), f"{os.major(number)}:{os.minor(number)}")
    if block is None:
        return Device(None, "the file system does not tell its device")
    return counted(block.with_queue())


def counted(block: Block) -> Device:
    """Return the device with its counter, or why it has none."""
    if not block.has_requests():
        return Device(block, f"{block.name} passes flushes on uncounted")
    if len((block.setting("stat") or "").split()) <= _FLUSHES:
        return Device(block, "this kernel does not count flushes; it does since Linux 5.5")
    return Device(block, "")
