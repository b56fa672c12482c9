"""Where a run writes: what it refuses, and what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import block_devices
import pytest
from block_devices import make_file_system, mounted
from fixtures_root import FileSystems, LoopDevices

from fuaio.bench import TargetError, _target, block_device, scratch_file
from fuaio.bench._target import place_at

SIZE = 1 << 20


def test_a_scratch_file_is_written_and_has_no_name(scratch: Path) -> None:
    with scratch_file(str(scratch), SIZE) as target:
        assert list(scratch.iterdir()) == []
        assert Path(target.path).read_bytes() == b"\xa5" * SIZE
        assert target.region_bytes == SIZE
        assert target.file_system in ("ext4", "xfs", "btrfs")
    assert list(scratch.iterdir()) == []


def test_progress_is_told_of_every_byte(scratch: Path) -> None:
    told: list[int] = []
    with scratch_file(str(scratch), SIZE + 4096, progress=told.append):
        assert sum(told) == SIZE + 4096


def test_an_existing_file_is_refused_and_left_alone(scratch: Path) -> None:
    path = scratch / "data"
    path.write_bytes(b"dear")
    with pytest.raises(TargetError, match="existing file"), scratch_file(str(path), SIZE):
        pass
    assert path.read_bytes() == b"dear"


def test_a_path_that_is_not_there_is_refused(scratch: Path) -> None:
    missing = scratch / "no-such"
    with pytest.raises(TargetError, match="No such file"), scratch_file(str(missing), SIZE):
        pass
    with pytest.raises(TargetError, match="No such file"), block_device(str(missing), SIZE):
        pass


@pytest.mark.root
def test_a_full_disk_is_refused_and_left_as_it_was(scratch: Path) -> None:
    options = "size=1m,mode=700"
    with mounted("tmpfs", "tmpfs", scratch / "small", options=options) as folder:
        with pytest.raises(TargetError, match="No space left"), scratch_file(str(folder), 4 * SIZE):
            pass
        assert os.statvfs(folder).f_bfree == os.statvfs(folder).f_blocks


@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "words"), [("", "nothing that is known"), ("ext4", "an ext2, ext3 or ext4")]
)
def test_a_device_needs_the_leave_to_destroy_and_one_hears_what_would_be_lost(
    loop_device: LoopDevices, kind: str, words: str
) -> None:
    device = loop_device()
    if kind:
        make_file_system(kind, device)
    before = device.read_bytes()
    with pytest.raises(TargetError) as caught, block_device(str(device), SIZE):
        pass
    assert words in str(caught.value)
    assert f"{64 << 20} bytes" in str(caught.value)
    assert "--destroy-data" in str(caught.value)
    assert device.read_bytes() == before


@pytest.mark.root
def test_a_device_is_filled_over_the_region_and_no_further(loop_device: LoopDevices) -> None:
    device = loop_device()
    with block_device(str(device), SIZE, destroy_data=True) as target:
        assert target.path == str(device)
        assert target.file_system == ""
        assert target.device.name == device.name
    with device.open("rb") as file:
        assert file.read(2 * SIZE) == b"\xa5" * SIZE + bytes(SIZE)


@pytest.mark.root
@pytest.mark.parametrize("destroy_data", [False, True])
def test_a_region_beyond_the_device_is_refused_before_anything_is_written(
    loop_device: LoopDevices, destroy_data: bool
) -> None:
    device = loop_device(size_bytes=SIZE)
    with (
        pytest.raises(TargetError, match="fewer than the region"),
        block_device(str(device), 2 * SIZE, destroy_data=destroy_data),
    ):
        pass
    with device.open("rb") as file:
        assert file.read() == bytes(SIZE)


@pytest.mark.root
def test_a_mounted_device_is_refused_also_with_the_leave(
    loop_device: LoopDevices, file_system: FileSystems
) -> None:
    device = loop_device()
    folder = file_system("ext4", device)
    (folder / "data").write_bytes(b"dear")
    with (
        pytest.raises(TargetError, match="is mounted"),
        block_device(str(device), SIZE, destroy_data=True),
    ):
        pass
    assert (folder / "data").read_bytes() == b"dear"


@pytest.mark.root
def test_a_device_that_another_loop_device_is_made_of_is_refused(loop_device: LoopDevices) -> None:
    below = loop_device(8 << 20)
    before = below.read_bytes()
    with (
        block_devices.loop_device_over(below) as above,
        pytest.raises(TargetError, match=rf"is what {above.name} is made of"),
        block_device(str(below), SIZE, destroy_data=True),
    ):
        pass
    assert below.read_bytes() == before


@pytest.mark.root
def test_beside_a_file_that_is_mounted_from_elsewhere_nothing_is_written(scratch: Path) -> None:
    script = f"""
import os, subprocess, sys
from fuaio.bench import TargetError
from fuaio.bench._target import place_at
os.mkdir({str(scratch / "memory")!r})
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", {str(scratch / "memory")!r}], check=True)
for name in ("memory/file", "file"):
    open({str(scratch)!r} + "/" + name, "w").close()
subprocess.run(["mount", "--bind", "memory/file", "file"], check=True)
try:
    with place_at("file", {SIZE}, destroy_data=False):
        print("written")
except TargetError as error:
    print(error)
"""
    words = ["unshare", "--mount", sys.executable, "-c", script]
    done = subprocess.run(words, cwd=scratch, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"file: {scratch}, where a scratch file would be made, is not known to be on the same file "
        "system; name a folder that is\n"
    )


def test_a_file_in_memory_without_a_folder_is_refused() -> None:
    fd = os.memfd_create("nowhere")
    try:
        with pytest.raises(TargetError, match="name a folder"):
            place_at(f"/proc/self/fd/{fd}", SIZE, destroy_data=False)
    finally:
        os.close(fd)


def test_where_a_file_without_a_name_is_another_the_scratch_file_has_one(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_target, "_NAMELESS_IS_THE_SAME", ())
    with scratch_file(str(scratch), SIZE) as target:
        (folder,) = scratch.iterdir()
        assert os.path.samefile(folder / "scratch", target.path)
    assert list(scratch.iterdir()) == []


@pytest.mark.root
def test_a_device_cannot_be_taken_by_another_meanwhile(loop_device: LoopDevices) -> None:
    device = loop_device()
    with block_device(str(device), SIZE, destroy_data=True):
        with pytest.raises(OSError, match="busy") as caught:
            os.open(device, os.O_RDONLY | os.O_EXCL)
        assert caught.value.errno
    os.close(os.open(device, os.O_RDONLY | os.O_EXCL))


@pytest.mark.root
def test_flushes_of_a_device_are_counted_and_no_others(loop_device: LoopDevices) -> None:
    device = loop_device()
    with block_device(str(device), SIZE, destroy_data=True) as target:
        before = target.device.flushes()
        assert before is not None
        with device.open("r+b", buffering=0) as file:
            for _ in range(3):
                file.write(b"\xa5" * 4096)
                os.fsync(file)
        assert target.device.flushes() == before + 3


@pytest.mark.root
def test_a_device_that_does_not_count_says_so(zram_device: Path) -> None:
    with block_device(str(zram_device), SIZE, destroy_data=True) as target:
        assert target.device.flushes() is None
        assert "uncounted" in target.device.why_no_flushes


def test_a_regular_file_is_never_taken_for_a_device(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_bytes(b"precious")
    with (
        pytest.raises(TargetError, match="is no block device"),
        block_device(str(path), 4096, destroy_data=True),
    ):
        pass
    assert path.read_bytes() == b"precious"
