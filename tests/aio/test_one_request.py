"""A write with fua is one request and no flush of ours, seen from outside.

Where the header lacks the engine's helper, it is a write and, after its completion, a flush.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from block_devices import make_file_system, mounted
from needs import need_engine
from real_strace import Call, calls_between_marks
from real_tracing import Tracing, tracepoint

from fuaio.aio import aligned_buffer, laio_has_fua, luring_has_fua, open_file

BLOCK = 4096
BLOCKS = 64
SLICE_S = 0.1  # the longest that the queue waits in the kernel at a time, aio/drive.c
HAS_HELPER = {"linux_aio": laio_has_fua, "io_uring": luring_has_fua}

# The first write asks what is asked once; the second, of a given number of buffers, is looked at.
TWO_WRITES = """
import os, sys
from fuaio.aio import aligned_buffer, open_file
engine, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
memory = aligned_buffer(4096 * count)
memory[:] = b"w" * len(memory)
view = memoryview(memory)
buffers = [view[at : at + 4096] for at in range(0, len(view), 4096)]
with open_file(path, "r+", engine=engine, direct=True) as file:
    file.pwrite(buffers[0], 0, fua=True)
    os.getppid()
    if count == 1:
        file.pwrite(buffers[0], 4096, fua=True)
    else:
        file.pwritev(buffers, 4096, fua=True)
    os.getppid()
"""


@pytest.fixture
def written_file(scratch: Path) -> Path:
    """A file whose every block is on the disk, so that a write changes no metadata."""
    return write_file(scratch / "written")


def write_file(path: Path) -> Path:
    with path.open("xb") as file:
        file.write(bytes(BLOCK * BLOCKS))
        file.flush()
        os.fsync(file.fileno())
    return path


def need_helper(engine: str, *, there: bool) -> None:
    need_engine(engine)
    if HAS_HELPER[engine]() != there:
        has = "has no" if there else "has the"
        pytest.skip(f"the header that this build saw {has} helper of {engine}")


def seen_writing(scratch: Path, engine: str, path: Path, count: int) -> list[Call]:
    """Give the calls of one write of *count* buffers, which did arrive."""
    calls = calls_between_marks(scratch, TWO_WRITES, engine, path, str(count))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(descriptor, BLOCK * (count + 1), BLOCK) == b"w" * (BLOCK * count) + bytes(
            BLOCK
        )
    finally:
        os.close(descriptor)
    return calls


def only(calls: list[Call], *names: str) -> list[Call]:
    """Give *calls* without those that wait once more, which is right only after a whole slice."""
    kept: list[Call] = []
    for call in calls:
        assert call.name in names, f"{call} is none of {names}"
        waits = call.name == "io_getevents" or (
            call.name == "io_uring_enter" and call.arguments.split(", ")[1] == "0"
        )
        if waits and kept[-1].name == call.name:
            assert kept[-1].seconds >= SLICE_S, f"{kept[-1]} was given up early"
            if call.name == "io_uring_enter":  # the first one handed over the request, too
                continue
            kept.pop()
        kept.append(call)
    return kept


def until_last(calls: list[Call], name: str) -> list[Call]:
    """Give *calls* up to the last of *name*."""
    return calls[: max(n for n, call in enumerate(calls) if call.name == name) + 1]


def assert_fetched(waits: list[Call]) -> None:
    """One call has fetched the completion, or none had to: it was in the ring already."""
    assert [(call.name, call.result) for call in waits] in ([], [("io_getevents", 1)])


def iocbs(call: Call) -> list[tuple[str, str | None, int]]:
    """Give opcode, flags and number of buffers of each request of an io_submit."""
    found = []
    for request in call.arguments.split("{aio_data=")[1:]:
        opcode = re.search(r"aio_lio_opcode=IOCB_CMD_(\w+)", request)
        flags = re.search(r"aio_rw_flags=([\w|]+)", request)
        assert opcode is not None, request
        found.append((opcode[1], flags[1] if flags else None, request.count("iov_base=")))
    return found


def submitted(call: Call) -> str:
    """Give the second argument of an io_uring_enter: how many requests it hands over."""
    return call.arguments.split(", ")[1]


@pytest.mark.strace
@pytest.mark.combination
@pytest.mark.parametrize("count", [1, 5])
def test_linux_aio_writes_with_fua_by_one_io_submit_with_rwf_dsync(
    scratch: Path, written_file: Path, count: int
) -> None:
    need_helper("linux_aio", there=True)
    calls = seen_writing(scratch, "linux_aio", written_file, count)
    submit, *waits = only(calls, "io_submit", "io_getevents")
    assert (submit.name, submit.result) == ("io_submit", 1)
    assert iocbs(submit) == [("PWRITEV", "RWF_DSYNC", count)]
    assert_fetched(waits)


@pytest.mark.strace
@pytest.mark.combination
@pytest.mark.parametrize("count", [1, 5])
def test_linux_aio_without_the_helper_flushes_after_the_write_completed(
    scratch: Path, written_file: Path, count: int
) -> None:
    need_helper("linux_aio", there=False)
    calls = seen_writing(scratch, "linux_aio", written_file, count)
    write, *fetched, flush = until_last(only(calls, "io_submit", "io_getevents"), "io_submit")
    assert iocbs(write) == [("PWRITEV", None, count)]
    assert_fetched(fetched)
    assert iocbs(flush) == [("FDSYNC", None, 0)]


@pytest.mark.strace
@pytest.mark.combination
@pytest.mark.parametrize("count", [1, 5])
def test_io_uring_writes_with_fua_by_one_io_uring_enter(
    scratch: Path, written_file: Path, count: int
) -> None:
    need_helper("io_uring", there=True)
    calls = seen_writing(scratch, "io_uring", written_file, count)
    (enter,) = only(calls, "io_uring_enter")
    assert (submitted(enter), enter.result) == ("1", 1)


@pytest.mark.strace
@pytest.mark.combination
@pytest.mark.parametrize("count", [1, 5])
def test_io_uring_without_the_helper_enters_again_after_the_write_completed(
    scratch: Path, written_file: Path, count: int
) -> None:
    need_helper("io_uring", there=False)
    calls = seen_writing(scratch, "io_uring", written_file, count)
    write, flush = only(calls, "io_uring_enter")
    assert [submitted(write), submitted(flush)] == ["1", "1"]
    assert "IORING_ENTER_GETEVENTS" in write.arguments  # it came back with the completion


@pytest.mark.strace
@pytest.mark.combination
@pytest.mark.parametrize("count", [1, 5])
def test_threads_write_a_file_with_fua_by_one_pwritev2_with_rwf_dsync(
    scratch: Path, written_file: Path, count: int
) -> None:
    calls = seen_writing(scratch, "threads", written_file, count)
    (write,) = only(calls, "pwritev2")
    assert write.arguments.endswith(f", {count}, {BLOCK}, RWF_DSYNC")
    assert write.result == count * BLOCK


@pytest.mark.root
@pytest.mark.strace
def test_threads_write_a_raw_device_and_then_fdatasync(
    scratch: Path, loop_device: Callable[..., Path]
) -> None:
    calls = seen_writing(scratch, "threads", loop_device(BLOCK * BLOCKS), 5)
    write, flush = only(calls, "pwritev", "pwritev2", "fdatasync")
    assert write.name.startswith("pwritev")
    assert "RWF_" not in write.arguments
    assert (flush.name, flush.result) == ("fdatasync", 0)


@pytest.mark.root
@pytest.mark.strace
def test_threads_write_a_raw_device_without_a_cache_by_one_pwritev2(
    scratch: Path, zram_device: Path
) -> None:
    (write,) = only(seen_writing(scratch, "threads", zram_device, 5), "pwritev2", "fdatasync")
    assert write.arguments.endswith(f", 5, {BLOCK}, RWF_DSYNC")


@pytest.mark.root
@pytest.mark.strace
def test_linux_aio_writes_a_raw_device_with_fua_by_one_io_submit(
    scratch: Path, loop_device: Callable[..., Path]
) -> None:
    need_helper("linux_aio", there=True)
    calls = seen_writing(scratch, "linux_aio", loop_device(BLOCK * BLOCKS), 5)
    submit, *waits = only(calls, "io_submit", "io_getevents")
    assert iocbs(submit) == [("PWRITEV", "RWF_DSYNC", 5)]
    assert_fetched(waits)


@pytest.fixture
def ring_requests(scratch: Path) -> Iterator[Tracing]:
    """The requests that this thread hands over by a ring."""
    # By a name: a process in a PID namespace does not know the number that the kernel gives it.
    own_name = Path("/proc/thread-self/comm")
    before, name = own_name.read_text(), f"fuaio-{uuid4().hex[:8]}"
    own_name.write_text(name)
    try:
        with tracepoint(scratch, "io_uring/io_uring_submit_req", f'COMM == "{name}"') as tracing:
            yield tracing
    finally:
        own_name.write_text(before.rstrip("\n"))


def opcodes(lines: list[str]) -> list[str]:
    return [line.partition("opcode ")[2].partition(",")[0] for line in lines]


@pytest.mark.root
@pytest.mark.parametrize("count", [1, 5])
def test_one_request_and_no_fsync_enters_the_ring_for_a_write_with_fua(
    written_file: Path, ring_requests: Tracing, count: int
) -> None:
    need_engine("io_uring")
    buffers = [aligned_buffer(BLOCK) for _ in range(count)]
    with (
        open_file(written_file, "r+", engine="io_uring", direct=True) as file,
        ring_requests.recorded() as lines,
    ):
        file.pwritev(buffers, 0, fua=True)
    assert opcodes(lines) == (["WRITEV"] if luring_has_fua() else ["WRITEV", "FSYNC"])


@pytest.mark.root
def test_a_flush_enters_the_ring_as_one_fsync(written_file: Path, ring_requests: Tracing) -> None:
    need_engine("io_uring")
    with open_file(written_file, "r+", engine="io_uring", direct=True) as file:
        file.pwrite(aligned_buffer(BLOCK), 0)
        with ring_requests.recorded() as lines:
            file.flush()
    assert opcodes(lines) == ["FSYNC"]


def device_number(device: Path) -> int:
    """Give the kernel's own number of *device*, as filters want it: 20 bits are the minor's."""
    number = os.stat(device).st_rdev
    return os.major(number) << 20 | os.minor(number)


@pytest.mark.root
def test_the_flag_reaches_a_raw_device_as_one_fua_write(
    scratch: Path, loop_device: Callable[..., Path], engine: str
) -> None:
    if engine == "threads":
        pytest.skip("it writes and flushes on a raw device, where that costs less")
    need_helper(engine, there=True)
    device = loop_device(BLOCK * BLOCKS)
    only_device = f"dev == {device_number(device)}"
    with (
        tracepoint(scratch, "block/block_bio_queue", only_device) as tracing,
        open_file(device, "r+", engine=engine, direct=True) as file,
        tracing.recorded() as lines,
    ):
        file.pwrite(aligned_buffer(BLOCK), BLOCK, fua=True)
    # Device, kind and place: a write, FUA, synchronous; 8 sectors from the 8th.
    assert [line.split()[1:5] for line in lines] == [["WFS", "8", "+", "8"]]


def flushes_done(device: Path) -> int:
    """Give the device's own count of flushes: Linux Documentation/block/stat.rst, field 16."""
    return int(Path(f"/sys/block/{device.name}/stat").read_text().split()[15])


def flushes_of(device: Path, path: Path, engine: str, *, fua: bool) -> int:
    """Write *path*, which lies on *device*, block by block; give the flushes that this cost."""
    data = aligned_buffer(BLOCK)
    with open_file(path, "r+", engine=engine, direct=True) as file:
        file.pwrite(data, 0, fua=True)
        before = flushes_done(device)
        for offset in range(0, BLOCK * BLOCKS, BLOCK):
            file.pwrite(data, offset, fua=fua)
        return flushes_done(device) - before


@pytest.mark.root
def test_a_write_with_fua_costs_a_raw_device_without_fua_one_flush(
    loop_device: Callable[..., Path], engine: str
) -> None:
    device = loop_device(BLOCK * BLOCKS)
    assert flushes_of(device, device, engine, fua=False) == 0
    assert flushes_of(device, device, engine, fua=True) == BLOCKS


@pytest.mark.root
def test_a_write_with_fua_costs_a_device_without_a_cache_no_flush(
    zram_device: Path, engine: str
) -> None:
    assert flushes_of(zram_device, zram_device, engine, fua=True) == 0


@pytest.mark.root
def test_a_write_with_fua_costs_a_file_on_a_device_without_fua_one_flush(
    scratch: Path, loop_device: Callable[..., Path], engine: str
) -> None:
    device = loop_device(32 << 20)
    make_file_system("ext4", device)
    # A commit of the journal flushes too: none may come of itself while this is counted.
    options = "nosuid,nodev,commit=3600"
    with mounted("ext4", device, scratch / "mounted", options=options) as folder:
        path = write_file(folder / "written")
        assert flushes_of(device, path, engine, fua=False) == 0
        assert flushes_of(device, path, engine, fua=True) == BLOCKS
