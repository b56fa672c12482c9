"""A path: what kind of place it is, its mount, and the devices below."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Literal, NamedTuple

from fuaio.probe._block import Block, block_by_name, block_by_number
from fuaio.probe._mounts import Mount, mount_of_descriptor, mount_of_path, read_mounts
from fuaio.probe._proc import Reading, read_text, under

Kind = Literal["file", "folder", "block device", "unknown"]


# A file in a file system on a loop device over a file, and so on: nobody's is as deep.
_DEEPEST = 4
_HERE = Path("/")
_LOOP_GET_STATUS64 = 0x4C05  # linux/loop.h; its struct loop_info64 begins with lo_device, lo_inode


class TargetError(ValueError):
    """A path is no target, or must not be written to, and was not; one line says why."""


class Target(NamedTuple):
    """Where durable writes would go.

    Attributes:
        path: Absolute, without links, as far as that is known.
        kind: Of a recorded tree, where files are not asked for, a file's is unknown.
        mount: The mount it lies on; of a block device and where it is not known, None.
        why_no_mount: Empty, or a reason and a detail.
        blocks: The devices that the file system has its data on, or the device itself.
        why_no_blocks: Empty, or a reason and a detail.
        journal: The devices that its journal is on, if not the same; None: on others, not known.
        upper: Of overlayfs, the folder that takes the writes, where it can be found.
    """

    path: str
    kind: Kind
    mount: Mount | None
    why_no_mount: tuple[str, str]
    blocks: tuple[Block, ...]
    why_no_blocks: tuple[str, str]
    journal: tuple[Block, ...] | None = ()
    upper: Target | None = None

    def disks(self) -> list[Block]:
        """Return the devices at the bottom, those of the journal too, each once."""
        found = [disk for block in (*self.blocks, *(self.journal or ())) for disk in block.disks()]
        return list({disk.path: disk for disk in found}.values())

    def words(self) -> str:
        """Return the stack in words: ext4 on nvme0n1p2 on NVMe nvme0n1; empty if not known."""
        below = " and ".join(block.words() for block in self.blocks)
        if self.upper is not None:
            below = self.upper.words()
        own = "" if self.mount is None else self.mount.file_system
        if self.journal:
            own += f" with its journal on {' and '.join(block.words() for block in self.journal)}"
        return " on ".join(part for part in (own, below) if part)


class Machine:
    """The mounts and devices of one machine, in which paths are looked up."""

    def __init__(self, root: Path) -> None:
        """*root* is where its /proc and /sys lie."""
        self.root = root
        self._mounts: list[Mount] | Reading = []

    def open(self, path: str) -> tuple[Target, int]:
        """Look up *path* on this machine.

        Returns:
            The target, and a descriptor (``O_PATH``) of it that is the caller's.

        Raises:
            TargetError: There is no such path, or it is neither file, folder nor block device.
        """
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise TargetError(f"{path}: {getattr(error, 'strerror', error)}") from None
        self._mounts = read_mounts(self.root)  # the way to the path may have mounted something
        try:
            return self._opened(fd, path, 0), fd
        except BaseException:
            os.close(fd)
            raise

    def look_up(self, path: str, depth: int = 0) -> Target:
        """Look up *path* in the table alone: nothing is opened, and a link is not followed."""
        if not depth:
            self._mounts = read_mounts(self.root)
        if path.startswith("/dev/"):
            name = path.removeprefix("/dev/").removeprefix("mapper/")
            block = block_by_name(self.root, name)
            if block is not None:
                return _device(path, self._with_files(block, depth))
        if isinstance(self._mounts, Reading):
            return self._in(path, "unknown", None, "", depth)
        return self._in(path, "unknown", mount_of_path(self._mounts, path), "", depth)

    def _opened(self, fd: int, path: str, depth: int) -> Target:
        status = os.fstat(fd)
        real = _name_of(fd, path)
        if stat.S_ISBLK(status.st_mode):
            block = block_by_number(self.root, _number(status.st_rdev))
            return _device(real, block and self._with_files(block, depth))
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise TargetError(f"{path} is neither a file, a folder nor a block device")
        kind: Kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
        mount = None
        if not isinstance(self._mounts, Reading):
            mount = mount_of_descriptor(self._mounts, fd)
        return self._in(real, kind, mount, _number(status.st_dev), depth)

    def _in(self, path: str, kind: Kind, mount: Mount | None, device: str, depth: int) -> Target:
        why_no_mount = ("", "")
        if isinstance(self._mounts, Reading):
            why_no_mount = (self._mounts.reason, self._mounts.detail)
        elif mount is None:
            why_no_mount = ("not-there", "its mount lies outside of what this process can see")
        blocks = tuple(self._with_files(block, depth) for block in self._blocks(mount, device))
        why_no_blocks = ("", "") if blocks else self._why_no_blocks(mount)
        upper = None
        if mount is not None:
            mount = self._with_all_options(mount, blocks)
            upper = self._upper(mount, depth)
        if upper is not None:
            blocks, why_no_blocks = upper.blocks, upper.why_no_blocks
        journal = self._journal(mount, blocks, depth) if upper is None else upper.journal
        return Target(path, kind, mount, why_no_mount, blocks, why_no_blocks, journal, upper)

    def _upper(self, mount: Mount, depth: int) -> Target | None:
        folder = mount.option("upperdir") if mount.file_system == "overlay" else None
        return self._other(folder, depth)

    def _with_files(self, block: Block, depth: int) -> Block:
        """Add the files that loop devices are of."""
        members = tuple(self._with_files(member, depth) for member in block.members)
        path = block.setting("loop/backing_file") if block.kind == "loop" else None
        return block._replace(members=members, behind=self._other(path, depth, block.name))

    def _other(self, path: str | None, depth: int, loop: str = "") -> Target | None:
        """Look up a path that the kernel tells: as another process sees it, it may be another file.

        Of a *loop* device the kernel tells root which file it is.
        """
        if not path or not path.startswith("/") or depth == _DEEPEST:
            return None
        if self.root != _HERE:
            return self.look_up(path, depth + 1)
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            return self._opened(fd, path, depth + 1) if _may_be_of(loop, fd) else None
        except TargetError:
            return None
        finally:
            os.close(fd)

    def _blocks(self, mount: Mount | None, device: str) -> tuple[Block, ...]:
        """Return the devices of a file system: btrfs tells them apart from its device number."""
        if mount is not None and mount.file_system == "btrfs":
            own = self._block_at(mount.source)
            return () if own is None else self._btrfs(own)
        number = mount.device if mount is not None else device
        found = block_by_number(self.root, number) if number else None
        return () if found is None else (found,)

    def _block_at(self, path: str) -> Block | None:
        """Return the device that whoever mounted something called *path*."""
        if self.root == _HERE:
            try:
                status = os.stat(path)
            except (OSError, ValueError):
                return None
            return block_by_number(self.root, _number(status.st_rdev))
        return block_by_name(self.root, path.removeprefix("/dev/").removeprefix("mapper/"))

    def _journal(
        self, mount: Mount | None, blocks: tuple[Block, ...], depth: int
    ) -> tuple[Block, ...] | None:
        if mount is None or not blocks:
            return ()
        log = mount.option("logdev") if mount.file_system == "xfs" else None
        if log is not None:
            found = self._block_at(log)
            return None if found is None else (self._with_files(found, depth),)
        name, journals = blocks[0].name, under(self.root, "/proc/fs/jbd2")
        task = read_text(self.root, f"/sys/fs/ext4/{name}/journal_task").text
        if task in (None, "<none>") or not journals.is_dir():
            return ()
        # The kernel calls a journal that is a file by the device and the inode's number.
        return () if any(journals.glob(f"{name}-*")) else None

    def _btrfs(self, own: Block) -> tuple[Block, ...]:
        for folder in sorted(under(self.root, "/sys/fs/btrfs").glob("*/devices")):
            names = sorted(entry.name for entry in folder.iterdir())
            if own.name in names:
                found = [block_by_name(self.root, name) for name in names]
                return tuple(block for block in found if block is not None)
        return (own,)

    def _why_no_blocks(self, mount: Mount | None) -> tuple[str, str]:
        if not under(self.root, "/sys/dev/block").is_dir():
            return ("not-there", "/sys is not mounted or hidden")
        if mount is None:
            return ("not-there", "the device is not known to sysfs")
        return ("no-device", f"{mount.file_system} has no block device of its own")

    def _with_all_options(self, mount: Mount, blocks: tuple[Block, ...]) -> Mount:
        if mount.file_system not in ("ext4", "ext3", "ext2") or not blocks:
            return mount
        told = read_text(self.root, f"/proc/fs/ext4/{blocks[0].name}/options").text or ""
        return mount._replace(more=tuple(told.split()))


def _number(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _name_of(fd: int, path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # the current folder was removed
        return os.readlink(f"/proc/self/fd/{fd}")


def _may_be_of(loop: str, fd: int) -> bool:
    """Return whether the descriptor's file is that of the *loop* device, or it cannot be asked."""
    try:
        device = os.open(f"/dev/{loop}", os.O_RDONLY | os.O_CLOEXEC) if loop else -1
    except OSError:
        return True
    if device < 0:
        return True
    answer = bytearray(4096)
    try:
        fcntl.ioctl(device, _LOOP_GET_STATUS64, answer)
    except OSError:
        return True
    finally:
        os.close(device)
    status = os.fstat(fd)
    return struct.unpack_from("=QQ", answer) == (status.st_dev, status.st_ino)


def _device(path: str, block: Block | None) -> Target:
    why = ("", "") if block else ("not-there", "sysfs does not have the device, or is hidden")
    blocks = (block,) if block else ()
    return Target(path, "block device", None, ("no-mount", "a block device"), blocks, why)
