"""The block devices of the virtual machine, and the file systems that are made on them.

Each is set up when it is asked for and taken down behind it. What this machine cannot make raises
CannotError with the reason.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

MOUNT_POINT = Path("/run/mounted")
_SYS_BLOCK = Path("/sys/class/block")


class CannotError(Exception):
    """This machine cannot make it; the message says why."""


def run(*words: str | Path, into: str | None = None) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run(words, input=into, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotError(f"{' '.join(map(str, words))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def undo(*words: str | Path) -> None:
    """Take down what was set up: what cannot be is no machine that cannot, but in the way."""
    try:
        run(*words)
    except CannotError as error:
        raise RuntimeError(str(error)) from None


def load(module: str, *options: str) -> None:
    """Load a module of the kernel."""
    run("modprobe", module, *options)


def by_serial(serial: str) -> str:
    """Return the disk with this serial number."""
    for disk in _SYS_BLOCK.iterdir():
        for name in ("serial", "device/serial", "device/vpd_pg80"):
            try:
                told = (disk / name).read_bytes()
            except OSError:
                continue
            if told.decode("latin-1").strip("\0 \n").endswith(serial):
                return f"/dev/{disk.name}"
    raise CannotError(f"no disk has the serial number {serial}")


def size_in_sectors(device: str) -> int:
    """Return the size of a device, in 512 bytes."""
    return int((_SYS_BLOCK / Path(device).name / "size").read_text())


@contextmanager
def _disk(serial: str) -> Iterator[str]:
    if serial.startswith("virtio"):
        load("virtio_blk")
    if serial.startswith("scsi"):
        load("virtio_scsi")
        load("sd_mod")
    yield by_serial(serial)


@contextmanager
def _null_blk(cache: int) -> Iterator[str]:
    load("null_blk", "nr_devices=0")
    folder = Path("/sys/kernel/config/nullb/nullb0")
    if not folder.parent.exists():
        run("mount", "-t", "configfs", "none", "/sys/kernel/config")
    folder.mkdir()
    try:
        for name, value in (("memory_backed", 1), ("size", 512), ("cache_size", 16 * cache)):
            (folder / name).write_text(str(value))
        (folder / "power").write_text("1")
        yield "/dev/nullb0"
    finally:
        (folder / "power").write_text("0")
        folder.rmdir()


@contextmanager
def _scsi_debug() -> Iterator[str]:
    before = {disk.name for disk in _SYS_BLOCK.iterdir()}
    load("sd_mod")
    load("scsi_debug", "dev_size_mb=512", "delay=0")
    try:
        (new,) = {disk.name for disk in _SYS_BLOCK.iterdir()} - before
        yield f"/dev/{new}"
    finally:
        undo("modprobe", "-r", "scsi_debug")


@contextmanager
def mapping(name: str, table: str) -> Iterator[str]:
    """A device of the device mapper; give its path."""
    load("dm_mod")
    run("dmsetup", "create", name, "--table", table)
    try:
        mappings = _SYS_BLOCK.glob("dm-*/dm/name")
        (found,) = (one for one in mappings if one.read_text().strip() == name)
        yield f"/dev/{found.parents[1].name}"
    finally:
        undo("dmsetup", "remove", "--retry", name)


@contextmanager
def _linear() -> Iterator[str]:
    disk = by_serial("nvme-a")
    with mapping("linear", f"0 {size_in_sectors(disk)} linear {disk} 0") as device:
        yield device


@contextmanager
def _crypt() -> Iterator[str]:
    load("dm_crypt")
    disk, key = by_serial("nvme-a"), "7" * 64
    table = f"0 {size_in_sectors(disk)} crypt aes-xts-plain64 {key} 0 {disk} 0"
    with mapping("crypt", table) as device:
        yield device


@contextmanager
def _raid1() -> Iterator[str]:
    load("raid1")
    disks = [by_serial("nvme-a"), by_serial("nvme-b")]
    run(
        *("mdadm", "--create", "/dev/md0", "--run", "--force", "--level=1", "--raid-devices=2"),
        *("--assume-clean", "--metadata=1.0", *disks),
        into="y\n",
    )
    try:
        yield "/dev/md0"
    finally:
        undo("mdadm", "--stop", "/dev/md0")
        undo("mdadm", "--zero-superblock", *disks)


DEVICES: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "nvme": lambda: _disk("nvme-a"),
    "virtio-wb": lambda: _disk("virtio-wb"),
    "virtio-wt": lambda: _disk("virtio-wt"),
    "scsi-fua": lambda: _disk("scsi-fua"),
    "scsi-flush": lambda: _disk("scsi-flush"),
    "scsi-wt-fua": lambda: _disk("scsi-wt-fua"),
    "scsi-wt": lambda: _disk("scsi-wt"),
    "null_blk-wb": lambda: _null_blk(1),
    "null_blk-wt": lambda: _null_blk(0),
    "scsi_debug": _scsi_debug,
    "dm-linear": _linear,
    "dm-crypt": _crypt,
    "md-raid1": _raid1,
}


@contextmanager
def mounted(kind: str, device: str, options: str = "defaults") -> Iterator[Path]:
    """Mount a device; give where."""
    MOUNT_POINT.mkdir(exist_ok=True)
    run("mount", "-t", kind, "-o", options, device, MOUNT_POINT)
    try:
        yield MOUNT_POINT
    finally:
        undo("umount", MOUNT_POINT)


@contextmanager
def _raw(device: str) -> Iterator[str]:
    yield device


@contextmanager
def _ext4(device: str, options: str = "defaults") -> Iterator[str]:
    load("ext4")
    features = "lazy_itable_init=0,lazy_journal_init=0"
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", features, device)
    with mounted("ext4", device, options) as folder:
        yield str(folder)


@contextmanager
def _xfs(device: str, options: str = "defaults") -> Iterator[str]:
    load("xfs")
    run("mkfs.xfs", "-q", "-f", device)
    with mounted("xfs", device, options) as folder:
        yield str(folder)


@contextmanager
def _xfs_with_a_log_device(device: str) -> Iterator[str]:
    load("xfs")
    log = by_serial("nvme-b")
    run("mkfs.xfs", "-q", "-f", "-l", f"logdev={log},size=64m", device)
    with mounted("xfs", device, f"logdev={log}") as folder:
        yield str(folder)


@contextmanager
def _btrfs(device: str, *, nodatacow: bool) -> Iterator[str]:
    load("btrfs")
    run("mkfs.btrfs", "-q", "-f", "-m", "single", device)
    with mounted("btrfs", device) as folder:
        inside = folder / "folder"
        inside.mkdir()
        if nodatacow:
            run("chattr", "+C", inside)
        yield str(inside)


@contextmanager
def _overlay(device: str, *, volatile: bool) -> Iterator[str]:
    load("overlay")
    with _ext4(device) as below:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{below}/{name}")
        folders = f"lowerdir={below}/lower,upperdir={below}/upper,workdir={below}/work"
        options = folders + (",volatile" if volatile else "")
        run("mount", "-t", "overlay", "-o", options, "overlay", f"{below}/merged")
        try:
            yield f"{below}/merged"
        finally:
            undo("umount", f"{below}/merged")


@contextmanager
def _tmpfs(device: str) -> Iterator[str]:
    with mounted("tmpfs", "tmpfs") as folder:
        yield str(folder)


FILE_SYSTEMS: dict[str, Callable[[str], AbstractContextManager[str]]] = {
    "raw": _raw,
    "ext4": _ext4,
    "xfs": _xfs,
    "ext4-sync": lambda device: _ext4(device, "sync"),
    "xfs-sync": lambda device: _xfs(device, "sync"),
    "xfs-logdev": _xfs_with_a_log_device,
    "btrfs": lambda device: _btrfs(device, nodatacow=False),
    "btrfs-nodatacow": lambda device: _btrfs(device, nodatacow=True),
    "overlay": lambda device: _overlay(device, volatile=False),
    "overlay-volatile": lambda device: _overlay(device, volatile=True),
    "tmpfs": _tmpfs,
}
