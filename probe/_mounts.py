"""The mount table, and which mount a path lies on.

Facts: ``/proc/self/mountinfo`` has a line for each mount that this process can reach (proc(5)).
A space, tab, newline or backslash in a path is an octal number there. Of several mounts on one
point the last line is on top. The kernel tells the number of the mount that a descriptor lies on
in ``/proc/self/fdinfo``, also of a deleted file; a path alone can be looked up in the table.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fuaio.probe._proc import Reading, read_text

MOUNTINFO = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount.

    Attributes:
        number: What the kernel knows it by.
        device: MAJOR:MINOR of the file system; of its own where it has no device.
        point: Where it is seen.
        file_system: Its type.
        source: What was mounted, as whoever did so called it.
        options: Of the mount and of the file system, in this order.
        more: What ext4 tells in full; among its mount options are only those that differ from
            the file system's own.
    """

    number: int
    device: str
    point: str
    file_system: str
    source: str
    options: tuple[str, ...]
    more: tuple[str, ...] = ()

    def option(self, name: str) -> str | None:
        """Return what the option *name* is set to; empty if it is only there, None if not."""
        for option in (*self.options, *self.more):
            key, _, value = option.partition("=")
            if key == name:
                return value
        return None


def read_mounts(root: Path) -> list[Mount] | Reading:
    """Return the mounts as /proc below *root* tells them, or why it does not."""
    reading = read_text(root, MOUNTINFO)
    if reading.text is None:
        return reading
    return [mount for line in reading.text.split("\n") if (mount := _parse(line)) is not None]


def mount_of_path(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that the absolute *path* lies on, which has no links in it."""
    parents = {path, *map(str, PurePosixPath(path).parents)}
    found = None
    for mount in mounts:
        if mount.point in parents and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def mount_of_descriptor(mounts: list[Mount], fd: int) -> Mount | None:
    """Return the mount that this process's descriptor lies on; None if the table has it not."""
    reading = read_text(Path("/"), f"/proc/self/fdinfo/{fd}")
    number = re.search(r"^mnt_id:\s*([0-9]+)$", reading.text or "", re.MULTILINE)
    if number is None:
        return None
    return next((mount for mount in mounts if mount.number == int(number[1])), None)


def _parse(line: str) -> Mount | None:
    before, dash, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(rest) < 3 or not fields[0].isdecimal():
        return None
    options = dict.fromkeys([*fields[5].split(","), *rest[2].split(",")])
    return Mount(
        number=int(fields[0]),
        device=fields[2],
        point=_plain(fields[4]),
        file_system=rest[0],
        source=_plain(rest[1]),
        options=tuple(_plain(option) for option in options),
    )


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
