"""A device that fails with EIO: nobody is told that a block is durable which is not there."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from block_devices import mounted
from fixtures_root import LoopDevices
from needs import need_command
from real_losses import (
    BLOCK,
    BLOCKS,
    NOTHING,
    THREADS,
    Said,
    Target,
    Write,
    WriteAll,
    losing_target,
    write_at_once,
    write_in_batches,
)

from fuaio.aio import DurabilityError, File, aligned_buffer, open_file

pytestmark = pytest.mark.root

# A loop device passes on what its full memory says; a page cache may make EIO of that.
FAILURES = {errno.EIO, errno.ENOSPC}


def write_with_fua(file: File, data: mmap.mmap, offset: int) -> None:
    file.pwrite(data, offset, fua=True)


def write_and_flush(file: File, data: mmap.mmap, offset: int) -> None:
    file.pwrite(data, offset)
    file.flush()


def by(write: Write) -> WriteAll:
    """Many threads, each of which writes one block by a call."""
    return lambda file, target, blocks: write_at_once(file, write, target, blocks)


def in_fua_batches(file: File, target: Target, blocks: list[int]) -> list[Said]:
    return write_in_batches(file, "fua", target, blocks)


def in_flushed_batches(file: File, target: Target, blocks: list[int]) -> list[Said]:
    return write_in_batches(file, "flush", target, blocks)


def in_auto_batches(file: File, target: Target, blocks: list[int]) -> list[Said]:
    return write_in_batches(file, "auto", target, blocks)


WAYS = pytest.mark.parametrize(
    "write",
    [
        by(write_with_fua),
        by(write_and_flush),
        in_fua_batches,
        in_flushed_batches,
        in_auto_batches,
    ],
    ids=["write_with_fua", "write_and_flush", "fua_batches", "flushed_batches", "auto_batches"],
)


@pytest.fixture(params=["raw", "ext4"])
def target(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Target]:
    with losing_target(scratch, request.param) as target:
        yield target


@contextmanager
def opened(target: Target, engine: str, *, direct: bool, flags: int) -> Iterator[File]:
    """Open the target by name or, to have more *flags*, by a descriptor."""
    if not flags:
        with open_file(target.path, "r+", engine=engine, direct=direct) as file:
            yield file
        return
    descriptor = os.open(target.path, os.O_RDWR | os.O_CLOEXEC | flags)
    try:
        with open_file(descriptor, "r+", engine=engine, direct=direct) as file:
            yield file
    finally:
        os.close(descriptor)


def write_rounds(
    target: Target, engine: str, write: WriteAll, *, direct: bool, flags: int = 0
) -> list[Said]:
    """Write every block once, in rounds, each of which opens the file again.

    After the first failure a file of the page cache promises nothing more, so that only the writes
    in flight beside it could be told wrong: many rounds of one write for each thread show more than
    a long one. The first has blocks that the device keeps, so that it says how success looks.
    """
    blocks = list(range(BLOCKS))
    random.Random(1).shuffle(blocks)
    kept = [block for block in blocks if not target.loses(block)][:THREADS]
    rest = [block for block in blocks if block not in kept]
    length = len(rest) if direct else THREADS
    rounds = [kept, *(rest[at : at + length] for at in range(0, len(rest), length))]
    said = []
    for some in rounds:
        with opened(target, engine, direct=direct, flags=flags) as file:
            said += write(file, target, some)
    assert sorted(one.block for one in said) == sorted(blocks)
    assert all(one.error is None for one in said if one.block in kept)
    return said


@WAYS
@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_no_success_is_told_of_a_block_that_is_not_there(
    target: Target, engine: str, write: WriteAll, direct: bool
) -> None:
    said = write_rounds(target, engine, write, direct=direct)
    failed = {one.block: one.error.errno for one in said if one.error is not None}
    told_wrong = [
        one.block
        for one in said
        if one.block not in failed and target.on_device(one.block) != one.data
    ]
    assert told_wrong == []
    # And the device did what it is here for.
    lost = {block for block in range(BLOCKS) if target.loses(block)}
    assert all(target.on_device(block) == NOTHING for block in lost)
    assert set(failed.values()) <= FAILURES
    if direct:
        assert set(failed) == lost  # an error there is its own write's
    else:
        assert set(failed) >= lost


def make_synchronous(target: Target, how: str) -> int:
    """Make plain writes synchronous as a user might; gives the flags to open the target with."""
    if how == "mount":
        mount = need_command("mount", "mount")
        subprocess.run([mount, "-o", "remount,sync", target.path.parent], check=True)
    elif how == "attribute":
        chattr = need_command("chattr", "e2fsprogs")
        subprocess.run([chattr, "+S", target.path], check=True)
    return os.O_DSYNC if how == "descriptor" else 0


@WAYS
@pytest.mark.parametrize(
    ("kind", "how"),
    [("ext4", "mount"), ("ext4", "attribute"), ("ext4", "descriptor"), ("raw", "descriptor")],
)
def test_no_success_is_told_wrong_where_every_write_is_synchronous(
    scratch: Path, engine: str, write: WriteAll, kind: str, how: str
) -> None:
    with losing_target(scratch, kind) as target:
        flags = make_synchronous(target, how)
        said = write_rounds(target, engine, write, direct=False, flags=flags)
        told = [one for one in said if one.error is None]
        assert [one.block for one in told if target.on_device(one.block) != one.data] == []
        assert len(told) >= THREADS


@pytest.mark.parametrize(("features", "page_cache"), [("extent", False), ("^extent,^64bit", True)])
def test_a_direct_file_with_a_block_map_counts_as_one_of_the_page_cache(
    loop_device: LoopDevices, scratch: Path, features: str, page_cache: bool
) -> None:
    device = loop_device()
    mkfs = need_command("mkfs.ext4", "e2fsprogs")
    subprocess.run([mkfs, "-q", "-F", "-O", features, device], check=True)
    with (
        mounted("ext4", device, scratch / "mounted") as folder,
        open_file(folder / "file", "x+", direct=True) as file,
    ):
        assert bool(file._facts.page_cache) is page_cache


def attempt_to_lose(file: File, target: Target) -> OSError:
    """Write a block that the device loses, durably, and give the error of that."""
    with pytest.raises(OSError) as failure:
        file.pwrite(aligned_buffer(BLOCK), target.offset(1), fua=True)
    assert failure.value.errno in FAILURES
    return failure.value


def test_a_page_cache_file_that_lost_a_write_promises_nothing_until_opened_again(
    target: Target, engine: str
) -> None:
    data = aligned_buffer(BLOCK)
    data[:] = b"k" * BLOCK
    with open_file(target.path, "r+", engine=engine) as file:
        first = attempt_to_lose(file, target)
        for promise in (
            lambda: file.pwrite(data, target.offset(4), fua=True),
            file.flush,
            lambda: file.flush(metadata=True),
        ):
            with pytest.raises(DurabilityError) as refused:
                promise()
            assert refused.value.errno == first.errno
        assert file.pwrite(data, target.offset(8)) == BLOCK  # nothing is promised of this one
    with open_file(target.path, "r+", engine=engine) as file:
        assert file.pwrite(data, target.offset(12), fua=True) == BLOCK
        file.flush()
    assert target.on_device(8) == target.on_device(12) == bytes(data)


def test_a_direct_write_that_is_lost_takes_no_other_with_it(target: Target, engine: str) -> None:
    data = aligned_buffer(BLOCK)
    data[:] = b"k" * BLOCK
    with open_file(target.path, "r+", engine=engine, direct=True) as file:
        assert not isinstance(attempt_to_lose(file, target), DurabilityError)
        assert file.pwrite(data, target.offset(4), fua=True) == BLOCK
        file.flush()
    assert target.on_device(4) == bytes(data)
