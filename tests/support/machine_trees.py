"""Folders that hold the /proc and /sys of a machine, made up or recorded.

A tree that was recorded is kept as one text, since links and colons in names do not survive every
way that a source archive goes: a line ``PATH -> TARGET`` for a link, and ``PATH:`` before the lines
of a file, which are indented. As a program it records this machine: machine_trees.py > tree.txt
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

WRITE_BACK, WRITE_THROUGH = "write back", "write through"
_QUEUE = (
    *("atomic_write_unit_max_bytes", "atomic_write_unit_min_bytes", "fua", "logical_block_size"),
    *("physical_block_size", "rotational", "write_cache"),
)
_DEVICE = (
    *("partition", "ro", "dm/name", "dm/uuid", "md/level", "md/consistency_policy"),
    *("loop/backing_file", "loop/dio", "cache_type"),
)


class MachineTree:
    """A made-up machine below *root*."""

    def __init__(self, root: Path) -> None:
        """Begin without mounts and without disks."""
        self.root = root
        self._mounts: list[str] = []
        (root / "sys/dev/block").mkdir(parents=True)
        (root / "sys/class/block").mkdir(parents=True)
        self.write("proc/self/mountinfo", "")

    def write(self, path: str, text: str) -> None:
        """Make the file *path* hold *text*."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def mount(
        self, point: str, kind: str, device: str, *, options: str = "rw", source: str = "-"
    ) -> None:
        """Mount the device numbered *device* on *point*; options as mountinfo has them."""
        number = len(self._mounts) + 20
        self._mounts.append(f"{number} 1 {device} / {point} rw - {kind} {source} {options}")
        self.write("proc/self/mountinfo", "\n".join(self._mounts))

    def disk(self, name: str, number: str, cache: str | None, *, fua: int = 0, **files: str) -> str:
        """Add a disk, or what is made of others; *files* are of its folder, __ for a slash."""
        folder = f"sys/devices/block/{name}"
        (self.root / folder).mkdir(parents=True)
        if cache is not None:
            self.write(f"{folder}/queue/write_cache", cache)
        self.write(f"{folder}/queue/fua", str(fua))
        self._link(folder, name, number)
        for path, text in files.items():
            self.write(f"{folder}/{path.replace('__', '/')}", text)
        return folder

    def partition(self, disk: str, name: str, number: str) -> None:
        """Add a partition of *disk*."""
        folder = f"sys/devices/block/{disk}/{name}"
        self.write(f"{folder}/partition", "1")
        self._link(folder, name, number)

    def made_of(self, name: str, *members: str) -> None:
        """Say what the device *name* is made of."""
        for member in members:
            real = (self.root / "sys/class/block" / member).resolve()
            link = self.root / f"sys/devices/block/{name}/slaves/{member}"
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(os.path.relpath(real, link.parent.resolve()))

    def _link(self, folder: str, name: str, number: str) -> None:
        for link in (f"sys/dev/block/{number}", f"sys/class/block/{name}"):
            (self.root / link).symlink_to(Path("../../..") / folder)


def unpack(text: str, root: Path) -> Path:
    """Make below *root* what *text* records, and return it."""
    file, lines = "", dict[str, list[str]]()
    for line in text.splitlines():
        if line.startswith("    "):
            lines[file].append(line[4:])
        elif " -> " in line:
            path, _, target = line.partition(" -> ")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        elif line.endswith(":"):
            file = line[:-1]
            lines[file] = []
    for path, content in lines.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("".join(f"{line}\n" for line in content))
    return root


def record() -> Iterator[str]:
    """Give the lines that record what this machine has to tell about its mounts and devices."""
    yield from _file(Path("/proc/self/mountinfo"))
    for pattern in ("proc/fs/ext4/*/options", "proc/fs/jbd2/*/info", "sys/fs/ext4/*/journal_task"):
        for file in sorted(Path("/").glob(pattern)):
            yield from _file(file)
    for name in ("/sys/dev/block", "/sys/class/block"):
        for link in sorted(Path(name).iterdir()):
            yield f"{str(link)[1:]} -> {os.readlink(link)}"
    for link in sorted(Path("/sys/class/block").iterdir()):
        yield from _device(link.resolve())
    for link in sorted(Path("/sys/fs/btrfs").glob("*/devices/*")):
        yield f"{str(link)[1:]} -> {os.readlink(link)}"


def _device(folder: Path) -> Iterator[str]:
    for name in (*_DEVICE, *(f"queue/{name}" for name in _QUEUE)):
        yield from _file(folder / name)
    for file in folder.glob("device/scsi_disk/*/cache_type"):
        yield from _file(file)
    for link in sorted((folder / "slaves").glob("*")):
        yield f"{str(link)[1:]} -> {os.readlink(link)}"


def _file(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    yield f"{str(path)[1:]}:"
    for line in text.splitlines():
        yield f"    {line}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in record())
