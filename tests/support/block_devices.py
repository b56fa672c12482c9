"""Block devices and file systems of one's own, for tests that run as root.

Every device lies over a file, or in memory, that the test made; none of the machine's is touched.
A loop device is told to go away with its last user as soon as it is open here, so that nothing is
left even if the tests are killed. Mounts are undone at the end of the test; ci/test runs the
tests in a mount namespace of its own, which covers a kill.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from needs import missing, need_command, need_root, root_is_required

LETS_GO_S = 20.0
LOOK_AGAIN_S = 0.05
ZRAM_CONTROL = Path("/sys/class/zram-control")


def _run(*command: str | Path) -> str:
    """Run *command*; give what it printed; where it is refused, the test is skipped or fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = " ".join(str(word) for word in command)
        missing(f"{words}: {done.stderr.strip()}", required=root_is_required())
    return done.stdout.strip()


def _unmount(folder: Path) -> None:
    """Undo a mount: the kernel lets go of a loop device's file only after its last close."""
    limit = time.monotonic() + LETS_GO_S
    words = ["env", "LC_ALL=C", need_command("umount", "mount"), str(folder)]
    while True:
        done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
        if "busy" not in done.stderr or time.monotonic() > limit:
            break
        time.sleep(LOOK_AGAIN_S)  # the kernel tells nobody when it lets go
    assert done.returncode == 0, done.stderr


def _has_a_cache(device: Path) -> None:
    """Let a loop device be what they are at first: kernels keep what its last user told it."""
    setting = Path(f"/sys/block/{device.name}/queue/write_cache")
    if setting.read_text() != "write back\n":
        setting.write_text("write back")


@contextmanager
def loop_device_over(
    backing: Path, *, logical_block_bytes: int = 512, direct_io: bool = False
) -> Iterator[Path]:
    """A loop device over the file *backing*, detached when its last user closes it."""
    need_root()
    losetup = need_command("losetup", "mount")
    device = Path(
        _run(
            losetup,
            "--find",
            "--show",
            f"--sector-size={logical_block_bytes}",
            f"--direct-io={'on' if direct_io else 'off'}",
            backing,
        )
    )
    # Detaching a device that is open marks it to be cleared at its last close, also that of a
    # process that was killed.
    held = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _run(losetup, "--detach", device)
        _has_a_cache(device)
        yield device
    finally:
        os.close(held)


@contextmanager
def told_of_its_cache(device: Path, cache: str) -> Iterator[None]:
    """Tell the kernel that a loop device of ours has a volatile cache, or none."""
    setting = Path(f"/sys/block/{device.name}/queue/write_cache")
    setting.write_text(cache)
    try:
        yield
    finally:
        setting.write_text("write back")


@contextmanager
def mounted(
    kind: str, source: Path | str, folder: Path, *, options: str = "nosuid,nodev"
) -> Iterator[Path]:
    """*source* mounted on *folder*, which is made, and unmounted at the end."""
    need_root()
    folder.mkdir()
    _run(need_command("mount", "mount"), "-t", kind, "-o", options, source, folder)
    try:
        yield folder
    finally:
        _unmount(folder)


def make_file_system(kind: str, device: Path) -> None:
    """Make an ext4 or xfs on *device*, with nothing left to be initialised in the background."""
    need_root()
    if kind == "ext4":
        features = "lazy_itable_init=0,lazy_journal_init=0"
        _run(need_command("mkfs.ext4", "e2fsprogs"), "-q", "-F", "-E", features, device)
    elif kind == "xfs":
        _run(need_command("mkfs.xfs", "xfsprogs"), "-q", "-f", device)
    else:
        raise ValueError(f"no recipe for a file system {kind!r}")


def _write_back(device: Path) -> None:
    """Let *device* have all that is written to it and its file systems.

    And no other device: a sync of the whole machine would be seen by who counts flushes.
    """
    number = os.stat(device).st_rdev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == f"{os.major(number)}:{os.minor(number)}":
            folder = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            _run("sync", "--file-system", folder)
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class FailingDevice:
    """A loop device over a sparse file on a small tmpfs, see `failing_loop_device`."""

    device: Path
    memory_folder: Path

    def fill(self) -> None:
        """Leave no room in memory: from now on a write to a new block of the device gives EIO."""
        _write_back(self.device)
        chunk = bytes(4096)
        descriptor = os.open(self.memory_folder / "ballast", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while True:
                os.write(descriptor, chunk)
        except OSError:
            return  # ENOSPC: full
        finally:
            os.close(descriptor)


@contextmanager
def failing_loop_device(
    folder: Path, *, size_bytes: int = 64 << 20, memory_bytes: int = 24 << 20
) -> Iterator[FailingDevice]:
    """A device of *size_bytes* that has memory for *memory_bytes* only.

    It works, and can hold a file system, until `FailingDevice.fill` is called. After that,
    writes to blocks that were never written fail with EIO, and read back as zeros.
    """
    memory_folder = folder / "memory"
    options = f"size={memory_bytes},mode=700"
    with ExitStack() as stack:
        stack.enter_context(mounted("tmpfs", "tmpfs", memory_folder, options=options))
        backing = memory_folder / "backing"
        with backing.open("xb") as file:
            file.truncate(size_bytes)
        device = stack.enter_context(loop_device_over(backing))
        yield FailingDevice(device, memory_folder)


@contextmanager
def new_zram_device(*, size_bytes: int = 64 << 20) -> Iterator[Path]:
    """A device in memory, which has no write cache to flush; taken away again at the end."""
    need_root()
    if not (ZRAM_CONTROL / "hot_add").exists():
        missing("no zram in this kernel (/sys/class/zram-control)", required=False)
    number = (ZRAM_CONTROL / "hot_add").read_text().strip()
    settings = Path(f"/sys/block/zram{number}")
    try:
        (settings / "disksize").write_text(str(size_bytes))
        yield Path(f"/dev/zram{number}")
    finally:
        (settings / "reset").write_text("1")
        (ZRAM_CONTROL / "hot_remove").write_text(number)
