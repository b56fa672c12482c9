"""The devices that other tests rely on do what they are said to do, and leave nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from block_devices import FailingDevice

pytestmark = pytest.mark.root

BLOCK = bytes(range(256)) * 16


def backing_file(device: Path) -> str:
    """The file under the loop *device* as the kernel tells it; empty when it has none."""
    try:
        return Path(f"/sys/block/{device.name}/loop/backing_file").read_text().strip()
    except FileNotFoundError:
        return ""


def test_a_loop_device_has_the_size_and_sector_it_was_asked_for(
    loop_device: Callable[..., Path],
) -> None:
    device = loop_device(8 << 20, logical_block_bytes=4096)
    queue = Path(f"/sys/block/{device.name}/queue/logical_block_size")
    assert int(queue.read_text()) == 4096
    with device.open("rb") as file:
        assert file.seek(0, os.SEEK_END) == 8 << 20


def test_a_loop_device_goes_away_when_its_tests_are_killed(scratch: Path) -> None:
    backing = scratch / "backing"
    backing.write_bytes(bytes(1 << 20))
    program = (
        "import pathlib, sys, time, block_devices\n"
        "with block_devices.loop_device_over(pathlib.Path(sys.argv[1])) as device:\n"
        "    print(device, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, backing],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        device = Path(child.stdout.readline().strip())
        assert backing_file(device) == str(backing)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert backing_file(device) != str(backing)


def test_a_failing_device_works_until_filled_and_then_gives_eio(
    failing_device: FailingDevice,
) -> None:
    descriptor = os.open(failing_device.device, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, BLOCK, 0)
        os.fdatasync(descriptor)
        failing_device.fill()
        os.pwrite(descriptor, BLOCK, 16 << 20)
        with pytest.raises(OSError) as failure:
            os.fdatasync(descriptor)
        assert failure.value.errno == errno.EIO
        assert os.pread(descriptor, len(BLOCK), 0) == BLOCK
    finally:
        os.close(descriptor)


def writes_done(device: Path) -> int:
    """Give the device's own count of writes: Linux Documentation/block/stat.rst, field 5."""
    return int(Path(f"/sys/block/{device.name}/stat").read_text().split()[4])


def test_filling_a_device_writes_back_no_other(
    failing_device: FailingDevice, loop_device: Callable[..., Path]
) -> None:
    other = loop_device(1 << 20)
    with other.open("r+b", buffering=0) as file:
        before = writes_done(other)
        file.write(BLOCK)
        failing_device.fill()
        assert writes_done(other) == before
        os.fsync(file.fileno())
        assert writes_done(other) > before


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_file_system_is_mounted_where_it_says(
    kind: str, loop_device: Callable[..., Path], file_system: Callable[[str, Path], Path]
) -> None:
    folder = file_system(kind, loop_device(320 << 20))
    told = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE", "--mountpoint", folder],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == kind


def test_a_zram_device_keeps_what_was_written(zram_device: Path) -> None:
    with zram_device.open("r+b", buffering=0) as file:
        file.write(BLOCK)
        os.fsync(file.fileno())
    with zram_device.open("rb", buffering=0) as file:
        assert file.read(len(BLOCK)) == BLOCK
