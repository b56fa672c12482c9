"""A prepared file: all of it written, durable, and nothing left where that fails."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from block_devices import mounted
from real_strace import need_strace

from fuaio.aio import prepare

SIZE = (3 << 20) + 4096

# Linux uapi/linux/fiemap.h
FS_IOC_FIEMAP, FIEMAP_FLAG_SYNC = 0xC020660B, 1
UNWRITTEN, DELALLOC, UNKNOWN = 0x800, 0x4, 0x2


def extents(path: Path) -> list[tuple[int, int, int]]:
    """Offset, length and flags of each extent, in bytes."""
    count = 512
    request = bytearray(struct.pack("=QQLLLL", 0, 1 << 62, FIEMAP_FLAG_SYNC, 0, count, 0))
    request += bytes(56 * count)
    with path.open("rb") as file:
        fcntl.ioctl(file, FS_IOC_FIEMAP, request)
    (mapped,) = struct.unpack_from("=L", request, 20)
    places = [struct.unpack_from("=QQQQQLLLL", request, 32 + 56 * n) for n in range(mapped)]
    return [(place[0], place[2], place[5]) for place in places]


def test_every_block_is_written_and_holds_zeros(scratch: Path) -> None:
    path = scratch / "file"
    prepare(path, SIZE)
    assert path.read_bytes() == bytes(SIZE)
    found = extents(path)
    assert sum(length for _, length, _ in found) == SIZE
    assert not any(flags & (UNWRITTEN | DELALLOC | UNKNOWN) for _, _, flags in found)


def test_the_size_need_be_no_whole_block(scratch: Path) -> None:
    prepare(scratch / "file", 5000)
    assert (scratch / "file").read_bytes() == bytes(5000)


def test_progress_is_told_of_every_byte(scratch: Path) -> None:
    told: list[int] = []
    prepare(scratch / "file", SIZE, progress=told.append)
    assert sum(told) == SIZE
    assert len(told) > 1


def test_a_path_that_exists_is_refused_and_left_alone(scratch: Path) -> None:
    path = scratch / "file"
    path.write_bytes(b"dear")
    with pytest.raises(FileExistsError):
        prepare(path, SIZE)
    assert path.read_bytes() == b"dear"


@pytest.mark.parametrize("size_bytes", [0, -1])
def test_a_size_without_a_block_is_refused(scratch: Path, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="no block to prepare"):
        prepare(scratch / "file", size_bytes)
    assert list(scratch.iterdir()) == []


@pytest.mark.root
def test_on_a_full_disk_it_leaves_nothing(scratch: Path) -> None:
    with mounted("tmpfs", "tmpfs", scratch / "small", options="size=2m,mode=700") as folder:
        with pytest.raises(OSError, match="No space left") as caught:
            prepare(folder / "file", SIZE)
        assert caught.value.errno == errno.ENOSPC
        assert list(folder.iterdir()) == []


def test_a_progress_that_raises_leaves_nothing(scratch: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(scratch / "file", SIZE, progress=interrupt)
    assert list(scratch.iterdir()) == []


@pytest.mark.strace
def test_it_is_flushed_once_after_all_writes_without_dsync_and_then_its_folder(
    scratch: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    program = f"import sys; from fuaio.aio import prepare; prepare(sys.argv[1], {SIZE})"
    watched = "trace=pwrite64,pwritev,pwritev2,fsync,fdatasync,openat"
    subprocess.run(
        [
            *(need_strace(), "-qq", "-y", "-o", trace, "-e", watched),
            *(sys.executable, "-c", program, scratch / "file"),
        ],
        check=True,
    )
    lines = [line for line in trace.read_text().splitlines() if str(scratch) in line]
    names = [line.partition("(")[0] for line in lines]
    assert names == [
        "openat",
        "pwrite64",
        "pwrite64",
        "pwrite64",
        "pwrite64",
        "fsync",
        "openat",
        "fsync",
    ]
    assert "SYNC" not in lines[0]
    assert f"<{scratch}/file>" in lines[5]
    assert f"<{os.path.realpath(scratch)}>" in lines[7]
