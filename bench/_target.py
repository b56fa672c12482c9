"""Where a run writes: a scratch file of its own, or a block device whose data may be lost."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from fuaio.aio._prepare import fill
from fuaio.bench._device import Device, device_below
from fuaio.bench._guard import afterwards
from fuaio.bench._work import Work
from fuaio.probe._block import block_by_number
from fuaio.probe._machine import Machine, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from fuaio.probe._block import Block
    from fuaio.probe._mounts import Mount

__all__ = ["Target", "TargetError", "block_device", "scratch_file"]

_PREFIX = ".fuaio-scratch-"
_FILL = Work(path="", region_bytes=0).fill

_NAMELESS_IS_THE_SAME = ("ext2", "ext3", "ext4", "xfs", "tmpfs", "ramfs")

# Where what is found there lies, in bytes from the start. Linux uapi/linux/magic.h, util-linux.
_SIGNATURES = (
    (1080, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (65600, b"_BHRfS_M", "a btrfs file system"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    (536, b"LVM2 001", "a physical volume of LVM"),
    (4086, b"SWAPSPACE2", "swap"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (510, b"\x55\xaa", "a partition table or boot sector"),
)


class Target(NamedTuple):
    """A region whose blocks are written."""

    place: str
    """What the caller named."""
    path: str
    """How another process opens it, as long as this one has it open."""
    region_bytes: int
    file_system: str
    """Empty: a device."""
    device: Device


@contextmanager
def scratch_file(
    folder: str, size_bytes: int, *, progress: Callable[[int], object] | None = None
) -> Iterator[Target]:
    """Make a file in *folder*, all of it written; it is gone with the block.

    It has no name where that makes no difference. btrfs leaves out most of what makes a write
    durable where a file has none, since nobody can find it after a crash (Linux
    fs/btrfs/tree-log.c, btrfs_log_inode_parent); f2fs does more than for others
    (fs/f2fs/file.c, need_do_checkpoint).

    Args:
        folder: On the disk that is to be measured.
        size_bytes: The region, a multiple of 4096.
        progress: Called now and then with how many bytes were written since the last time.

    Raises:
        TargetError: *folder* is none, cannot be written to, or its disk is too small.
    """
    with ExitStack() as stack:
        try:
            file_system = _file_system_of(folder)
            if file_system in _NAMELESS_IS_THE_SAME:
                fd = _nameless_file(folder)
                stack.callback(os.close, fd)
            else:
                fd = stack.enter_context(_named_file(folder))
        except OSError as error:
            raise TargetError(f"{folder}: {error.strerror}") from None
        _fill_durably(fd, folder, size_bytes, progress)
        path = f"/proc/{os.getpid()}/fd/{fd}"
        _require_direct(path, folder)
        yield Target(folder, path, size_bytes, file_system, device_below(fd))


@contextmanager
def block_device(
    device: str,
    size_bytes: int,
    *,
    destroy_data: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Target]:
    """Overwrite the start of *device*, and keep others from mounting it as long as the block.

    Args:
        device: A block device that nothing uses.
        size_bytes: The region, from the device's start, a multiple of 4096.
        destroy_data: What is on it may be lost; without this it is refused.
        progress: Called now and then with how many bytes were written since the last time.

    Raises:
        TargetError: It may not be overwritten, is mounted or used, or is too small.
    """
    try:
        # O_EXCL without O_CREAT: refused while it, a partition or the disk of it is mounted, swap,
        # or part of another device (open(2)); and as long as this is open, they are. A loop device
        # over it makes no such claim.
        fd = os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        why = f"{device}: {error.strerror}"
        if error.errno == errno.EBUSY:
            why = f"{device} is mounted, swap or part of another device; free it first"
        raise TargetError(why) from None
    try:
        if not stat.S_ISBLK(os.fstat(fd).st_mode):
            raise TargetError(
                f"{device} is no block device; name a folder for a scratch file in it"
            )
        if loops := _loops_over(fd):
            raise TargetError(f"{device} is what {' and '.join(loops)} is made of; free it first")
        size = os.lseek(fd, 0, os.SEEK_END)
        if size_bytes > size:
            raise TargetError(f"{device} has {size} bytes, fewer than the region's {size_bytes}")
        if not destroy_data:
            raise TargetError(
                f"{device} is a block device of {size} bytes, on which there is "
                f"{_what_is_on(fd)}; measuring overwrites its first {size_bytes} bytes: "
                "--destroy-data allows that"
            )
        _fill_durably(fd, device, size_bytes, progress)
        yield Target(device, os.path.realpath(device), size_bytes, "", device_below(fd))
    finally:
        os.close(fd)


def place_at(path: str, size_bytes: int, *, destroy_data: bool) -> AbstractContextManager[Target]:
    """Return where to write for what is asked about *path*.

    That is a scratch file in the folder, or in that of the file; or the block device itself.

    Raises:
        TargetError: There is nothing; and see `scratch_file` and `block_device`.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise TargetError(f"{path}: {error.strerror}") from None
    if stat.S_ISBLK(mode):
        return block_device(path, size_bytes, destroy_data=destroy_data)
    if stat.S_ISDIR(mode):
        return scratch_file(path, size_bytes)
    if not stat.S_ISREG(mode):
        raise TargetError(f"{path} is neither a file, a folder nor a block device")
    return scratch_file(_folder_of(path), size_bytes)


def _folder_of(path: str) -> str:
    """Return the folder of a file; on another file system nothing would be learnt of the file's."""
    folder = os.path.dirname(os.path.realpath(path))
    own, its = _mount_of(path), _mount_of(folder)
    if own is None or its is None or own.device != its.device:
        raise TargetError(
            f"{path}: {folder}, where a scratch file would be made, is not known to be on the same "
            "file system; name a folder that is"
        )
    return folder


def _mount_of(path: str) -> Mount | None:
    target, fd = Machine(Path("/")).open(path)
    os.close(fd)
    return target.mount


def _loops_over(fd: int) -> list[str]:
    """Return the loop devices whose file is the block device of the descriptor, or part of it."""
    own = _block_of(os.fstat(fd))
    found = []
    for setting in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        try:
            other = _block_of(os.stat(setting.read_text().removesuffix("\n")))
        except OSError:
            continue  # free again, or not seen from here
        if own is not None and other is not None and _have_in_common(own, other):
            found.append(setting.parts[3])
    return found


def _block_of(status: os.stat_result) -> Block | None:
    if not stat.S_ISBLK(status.st_mode):
        return None
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return block_by_number(Path("/"), number)


def _have_in_common(one: Block, other: Block) -> bool:
    """Return whether they are the same, or one is a partition of the other."""
    whole = one.with_queue(), other.with_queue()
    return one.path in (other.path, whole[1].path) or other.path == whole[0].path


@contextmanager
def _named_file(folder: str) -> Iterator[int]:
    own = f"{os.path.abspath(folder)}/{_PREFIX}{uuid4().hex}"
    with afterwards('rm -f "$1/scratch"; rmdir "$1" 2>/dev/null', own):
        os.mkdir(own, 0o700)
        fd = os.open(f"{own}/scratch", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)


def _nameless_file(folder: str) -> int:
    try:
        return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    fd, name = tempfile.mkstemp(dir=folder, prefix=_PREFIX)
    os.unlink(name)
    return fd


def _file_system_of(folder: str) -> str:
    target, fd = Machine(Path("/")).open(folder)
    os.close(fd)
    if target.kind != "folder":
        raise TargetError(
            f"{folder} is an existing file, and measuring would overwrite it; name its folder"
        )
    return "" if target.mount is None else target.mount.file_system


def _fill_durably(
    fd: int, place: str, size_bytes: int, progress: Callable[[int], object] | None
) -> None:
    try:
        fill(fd, size_bytes, byte=_FILL, progress=progress)
        os.fsync(fd)
    except OSError as error:
        raise TargetError(f"{place}: {error.strerror}, before anything was measured") from None


def _require_direct(path: str, folder: str) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC))
    except FileNotFoundError:
        raise TargetError(
            f"{folder}: its scratch file is opened by way of /proc, which is not mounted here"
        ) from None
    except OSError as error:
        raise TargetError(
            f"{folder}: its file system has no O_DIRECT ({error.strerror}), which is what is "
            "measured; name a folder on a disk"
        ) from None


def _what_is_on(fd: int) -> str:
    for offset, magic, words in _SIGNATURES:
        if os.pread(fd, len(magic), offset) == magic:
            return words
    return "nothing that is known by its signature"
