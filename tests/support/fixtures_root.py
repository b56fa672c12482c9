"""What only root can have: made or changed for one test, taken away or put back after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import block_devices
import pytest
from block_devices import FailingDevice
from real_guard import changed_sysctl

LoopDevices = Callable[..., Path]
FileSystems = Callable[[str, Path], Path]
Sysctl = Callable[[str, int], AbstractContextManager[None]]


@pytest.fixture
def loop_device(scratch: Path) -> Iterator[LoopDevices]:
    """Call it for a new loop device: ``loop_device(size_bytes=..., logical_block_bytes=512)``."""
    with ExitStack() as stack:
        count = 0

        def make(
            size_bytes: int = 64 << 20, *, logical_block_bytes: int = 512, direct_io: bool = False
        ) -> Path:
            nonlocal count
            count += 1
            backing = scratch / f"loop-backing-{count}"
            with backing.open("xb") as file:
                file.truncate(size_bytes)
            device = block_devices.loop_device_over(
                backing, logical_block_bytes=logical_block_bytes, direct_io=direct_io
            )
            return stack.enter_context(device)

        yield make


@pytest.fixture
def failing_device(scratch: Path) -> Iterator[FailingDevice]:
    """A loop device over a file on a tmpfs; after its ``fill()`` new blocks fail with EIO."""
    with block_devices.failing_loop_device(scratch) as device:
        yield device


@pytest.fixture
def file_system(scratch: Path, request: pytest.FixtureRequest) -> Iterator[FileSystems]:
    """Call it to make and mount one: ``file_system("ext4", device)`` gives the folder.

    xfs wants a device of at least 300 MiB.
    """
    # The devices that the test has asked for must outlive the mounts on them.
    for name in ("loop_device", "failing_device", "zram_device"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    with ExitStack() as stack:

        def make(kind: str, device: Path) -> Path:
            block_devices.make_file_system(kind, device)
            folder = scratch / f"mounted-{device.name}"
            return stack.enter_context(block_devices.mounted(kind, device, folder))

        yield make


@pytest.fixture
def zram_device() -> Iterator[Path]:
    """A device in memory of 64 MiB."""
    with block_devices.new_zram_device() as device:
        yield device


@pytest.fixture
def sysctl() -> Sysctl:
    """Call it for a block in which the whole machine has another value of a sysctl.

    A test that takes this fixture runs while no other test does, on the whole machine.
    """
    return changed_sysctl
