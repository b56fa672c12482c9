"""The disk below a file or a block device: what sysfs says of it, and its count of flushes.

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

__all__ = ["Device", "device_below", "file_system_of"]

_BY_NUMBER = Path("/sys/dev/block")
_FLUSHES = 15  # of the fields of stat, from 0


class Device(NamedTuple):
    """A disk, and why its flushes cannot be counted (empty: they can)."""

    name: str
    folder: Path | None
    why_no_flushes: str

    def setting(self, name: str) -> str:
        """Return what sysfs has in the disk's file *name*; empty where it has none."""
        if self.folder is None:
            return ""
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def flushes(self) -> int | None:
        """Return how many flushes it was sent until now; None where that is not known."""
        if self.why_no_flushes:
            return None
        return int(self.setting("stat").split()[_FLUSHES])


def device_below(fd: int) -> Device:
    """Return the disk below the descriptor's file, or that it is itself."""
    status = os.fstat(fd)
    number = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    folder = _BY_NUMBER / f"{os.major(number)}:{os.minor(number)}"
    if not folder.exists():
        return Device("", None, "the file system does not tell its device")
    folder = folder.resolve()
    if (folder / "partition").exists():
        folder = folder.parent
    device = Device(folder.name, folder, "")
    return device._replace(why_no_flushes=_why_no_flushes(device))


def _why_no_flushes(device: Device) -> str:
    if device.folder is not None and not (device.folder / "mq").exists():
        return f"{device.name} passes flushes on uncounted"
    if len(device.setting("stat").split()) <= _FLUSHES:
        return "this kernel does not count flushes; it does since Linux 5.5"
    return ""


def file_system_of(path: str) -> str:
    """Return the type of the file system that holds *path*; empty where /proc does not tell."""
    real = os.path.realpath(path)
    found, longest = "", -1
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = before.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        inside = os.path.commonpath([real, mount]) == mount
        if inside and len(mount) >= longest:
            found, longest = after.split()[0], len(mount)
    return found
