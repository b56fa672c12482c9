"""Buffers: what is taken, what is refused and why, and that a refusal holds on to nothing."""

from __future__ import annotations

import mmap
import os
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from core_files import BLOCK, DSYNC, block, make
from faults_table import READ, WRITE, Faults
from hypothesis import given
from hypothesis import strategies as st
from memory_file import memory_file
from needs import ENGINES

from fuaio.aio import AlignmentError, File, Fua, aligned_buffer, open_file

if TYPE_CHECKING:
    from typing_extensions import Buffer

PIECE = 0x7FFFF000  # the most bytes that Linux moves in one request
LONG = PIECE + 4 * 4096

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])


@pytest.mark.parametrize("length", [1, 511, 4096, 4097, 1 << 20])
def test_an_aligned_buffer_is_zeroed_writable_starts_on_a_page_and_is_as_long_as_asked(
    length: int,
) -> None:
    buffer = aligned_buffer(length)
    assert len(buffer) == length
    assert buffer[:] == bytes(length)
    assert address(buffer) % mmap.PAGESIZE == 0
    buffer[length - 1 :] = b"x"
    assert buffer[-1:] == b"x"


@pytest.mark.parametrize("length", [0, -1])
def test_an_aligned_buffer_without_a_byte_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes cannot be made"):
        aligned_buffer(length)


def test_a_slice_of_an_aligned_buffer_fits_o_direct(scratch: Path, engine: str) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=True) as file:
        whole = memoryview(aligned_buffer(3 * BLOCK))
        whole[BLOCK : 2 * BLOCK] = block(1)
        file.pwrite(whole[BLOCK : 2 * BLOCK], 0, fua=True)
        assert file.pread_into(whole[2 * BLOCK :], 0) == BLOCK
        assert whole[2 * BLOCK :] == block(1)


@pytest.mark.parametrize(
    "convert",
    [
        bytes,
        bytearray,
        lambda data: memoryview(data),
        lambda data: memoryview(bytearray(b"skip" + data))[4:],
        lambda data: memoryview(data).cast("B", (2, len(data) // 2)),
        lambda data: array("I", data),
    ],
    ids=["bytes", "bytearray", "memoryview", "slice", "two dimensions", "array"],
)
def test_every_contiguous_buffer_is_written_in_bytes(
    scratch: Path, engine: str, convert: Callable[[bytes], bytes]
) -> None:
    content = bytes(range(1, 201))
    with open_file(scratch / "file", "w+", engine=engine) as file:
        assert file.pwrite(convert(content), 3, fua=True) == len(content)
        assert file.pwritev([b"a", convert(content)], 300, fua=True) == 1 + len(content)
    assert (scratch / "file").read_bytes()[3:203] == content
    assert (scratch / "file").read_bytes()[300:] == b"a" + content


def test_every_writable_buffer_is_read_into(scratch: Path, engine: str) -> None:
    (scratch / "file").write_bytes(bytes(range(200)))
    into: list[Buffer] = [
        bytearray(8),
        memoryview(bytearray(8)),
        aligned_buffer(8),
        array("Q", [0]),
    ]
    with open_file(scratch / "file", engine=engine) as file:
        for buffer in into:
            assert file.pread_into(buffer, 16) == 8
            assert memoryview(buffer).tobytes() == bytes(range(16, 24))


@pytest.mark.parametrize(
    ("buffer", "why"),
    [
        (b"bytes", "this bytes is read-only, and a read writes into it"),
        (memoryview(b"bytes"), "this memoryview is read-only"),
        (memoryview(bytearray(8))[::2], "not C-contiguous"),
        (5, "an? int has no buffer"),
        ("text", "a str has no buffer"),
        (None, "a NoneType has no buffer"),
    ],
    ids=["bytes", "view", "strided", "int", "str", "none"],
)
def test_a_buffer_that_cannot_be_read_into_is_refused_with_the_reason(
    scratch: Path, engine: str, faults: Faults, buffer: bytes, why: str
) -> None:
    with open_file(make(scratch / "file"), engine=engine) as file:
        reads: tuple[Callable[[], int], ...] = (
            lambda: file.pread_into(buffer, 0),
            lambda: file.preadv([bytearray(1), buffer], 0),
        )
        for read in reads:
            with pytest.raises(TypeError, match=why):
                read()
    assert faults.seen() == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (memoryview(b"12345678")[::2], "not C-contiguous"),
        (memoryview(b"12345678")[::-1], "not C-contiguous"),
        ("text", "a str has no buffer"),
        (5, "an? int has no buffer"),
        ([b"bytes"], "a list has no buffer"),
    ],
    ids=["strided", "backwards", "str", "int", "list"],
)
def test_data_that_cannot_be_written_is_refused_with_the_reason(
    scratch: Path, engine: str, faults: Faults, data: bytes, why: str
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        writes: tuple[Callable[[], int], ...] = (
            lambda: file.pwrite(data, 0, fua=True),
            lambda: file.pwritev([b"a", data], 0, fua=True),
        )
        for write in writes:
            with pytest.raises(TypeError, match=why):
                write()
    assert faults.seen() == []


@pytest.mark.parametrize(
    ("offset", "error"),
    [(-1, ValueError), (-(1 << 70), ValueError), (1 << 63, OverflowError), ("0", TypeError)],
)
def test_an_offset_that_is_none_is_refused_and_holds_on_to_no_buffer(
    scratch: Path, engine: str, faults: Faults, offset: int, error: type[Exception]
) -> None:
    data = bytearray(b"data")
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        calls: tuple[Callable[[], object], ...] = (
            lambda: file.pwrite(data, offset),
            lambda: file.pwritev([data], offset, fua=True),
            lambda: file.pread(4, offset),
            lambda: file.pread_into(data, offset),
            lambda: file.preadv([data], offset),
        )
        for call in calls:
            with pytest.raises(error) as caught:
                call()
            data.append(0)  # the traceback, which is kept here, must not hold it either
            assert caught.value is not None
    assert faults.seen() == []


def test_a_refused_buffer_leaves_those_before_it_free(scratch: Path, engine: str) -> None:
    first = bytearray(b"data")
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        with pytest.raises(TypeError, match="no buffer") as caught:
            file.pwritev([first, 5], 0)  # type: ignore[list-item] # that is what is refused
        first.append(0)
    assert "int" in str(caught.value)


@pytest.mark.parametrize("length", [-1, -4096])
def test_a_negative_length_is_refused(scratch: Path, engine: str, length: int) -> None:
    with (
        open_file(make(scratch / "file"), engine=engine) as file,
        pytest.raises(ValueError, match=f"length {length} is negative"),
    ):
        file.pread(length, 0)


@DIRECT
@pytest.mark.parametrize("fua", [False, True])
def test_empty_data_is_nothing_written_and_nothing_submitted(
    scratch: Path, engine: str, faults: Faults, direct: bool, fua: bool
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=direct) as file:
        assert file.pwrite(b"", 0, fua=fua) == 0
        assert file.pwrite(bytearray(), 1 << 40, fua=fua) == 0
        assert file.pwritev([], 0, fua=fua) == 0
        assert file.pwritev([b"", b""], 0, fua=fua) == 0
        assert file.pread(0, 0) == b""
        assert file.pread_into(bytearray(), 0) == 0
        assert file.preadv([], 0) == 0
        assert file.size == 64 * BLOCK
    assert faults.seen() == []


# ---- alignment ----


def address(buffer: mmap.mmap | memoryview) -> int:
    from fuaio.aio._core import ffi

    with ffi.from_buffer(buffer) as memory:
        return int(ffi.cast("uintptr_t", memory))


Call = Callable[[File, memoryview], object]
WRITES: list[Call] = [
    lambda file, data: file.pwrite(data, 0),
    lambda file, data: file.pwrite(data, 0, fua=True),
    lambda file, data: file.pwritev([block(1), data], 0, fua=True),
    lambda file, data: file.pwritev(iter([block(1), data]), 0, fua=True),
]
READS: list[Call] = [
    lambda file, data: file.pread_into(data, 0),
    lambda file, data: file.preadv([block(1), data], 0),
]


@pytest.mark.parametrize("call", WRITES + READS)
def test_an_unaligned_address_is_named_with_what_is_needed_and_nothing_is_submitted(
    scratch: Path, engine: str, faults: Faults, call: Call
) -> None:
    path = make(scratch / "file")
    with open_file(path, "r+", engine=engine, direct=True) as file:
        data = memoryview(aligned_buffer(2 * BLOCK))[1 : 1 + BLOCK]
        with pytest.raises(AlignmentError) as caught:
            call(file, data)
        message = str(caught.value)
        assert f"address {address(data):#x} of buffer " in message
        assert f"needs a multiple of {file.memory_align} bytes" in message
        assert str(path) in message
        assert "aligned_buffer()" in message
    assert faults.seen() == []


@pytest.mark.parametrize("call", WRITES + READS)
@pytest.mark.parametrize("length", [1, 511, BLOCK + 1])
def test_an_unaligned_length_is_named_with_what_is_needed_and_nothing_is_submitted(
    scratch: Path, engine: str, faults: Faults, call: Call, length: int
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=True) as file:
        with pytest.raises(AlignmentError) as caught:
            call(file, memoryview(aligned_buffer(length)))
        assert f"length {length} of buffer " in str(caught.value)
        assert f"needs a multiple of {file.offset_align} bytes" in str(caught.value)
    assert faults.seen() == []


@pytest.mark.parametrize("offset", [1, 511, BLOCK - 1, (1 << 40) + 1])
def test_an_unaligned_offset_is_named_with_what_is_needed_and_nothing_is_submitted(
    scratch: Path, engine: str, faults: Faults, offset: int
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=True) as file:
        calls: tuple[Callable[[], object], ...] = (
            lambda: file.pwrite(block(1), offset, fua=True),
            lambda: file.pwritev([block(1)], offset),
            lambda: file.pread(BLOCK, offset),
            lambda: file.preadv([block(1)], offset),
        )
        for call in calls:
            with pytest.raises(AlignmentError) as caught:
                call()
            needed = f"offset {offset}: O_DIRECT on {file._queue.name} needs a multiple of"
            assert f"{needed} {file.offset_align} bytes" in str(caught.value)
    assert faults.seen() == []


def test_a_refused_alignment_holds_on_to_no_buffer(scratch: Path, engine: str) -> None:
    data = bytearray(BLOCK + 1)
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=True) as file:
        with pytest.raises(AlignmentError) as caught:
            file.pwrite(data, 0, fua=True)
        data.append(0)
    assert "length" in str(caught.value)


def test_without_o_direct_anything_is_aligned(scratch: Path, engine: str) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        assert (file.memory_align, file.offset_align) == (1, 1)
        assert file.pwrite(memoryview(b"123456")[1:4], 4095, fua=True) == 3
        assert file.pread(3, 4095) == b"234"


# ---- long lists, long buffers ----


@pytest.mark.parametrize("count", [1023, 1024, 1025, 2048, 3000])
@pytest.mark.parametrize("fua", [False, True])
def test_a_list_of_more_buffers_than_one_request_takes_is_split_all_of_it_with_the_flag(
    scratch: Path, engine: str, faults: Faults, count: int, fua: bool
) -> None:
    buffers = [bytes([number % 255 + 1]) * (number % 3 + 1) for number in range(count)]
    whole = b"".join(buffers)
    with open_file(scratch / "file", "w+", engine=engine) as file:
        before = len(faults.seen(WRITE))
        assert file.pwritev(buffers, 5, fua=fua) == len(whole)
        writes = faults.seen(WRITE)[before:]
        flags = DSYNC if fua and file.can_fua is Fua.NATIVE else 0
    assert [write.iovcnt for write in writes] == [
        min(1024, count - begin) for begin in range(0, count, 1024)
    ]
    assert {write.flags for write in writes} == {flags}
    assert (scratch / "file").read_bytes()[5:] == whole


@pytest.mark.parametrize("count", [1024, 2500])
def test_a_list_of_more_buffers_than_one_request_takes_is_filled(
    scratch: Path, engine: str, count: int
) -> None:
    content = bytes(number % 251 for number in range(2 * count))
    (scratch / "file").write_bytes(content)
    buffers = [bytearray(2) for _ in range(count)]
    with open_file(scratch / "file", engine=engine) as file:
        assert file.preadv(buffers, 0) == 2 * count
    assert b"".join(buffers) == content


@DIRECT
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_thousand_empty_buffers_anywhere_in_a_list_change_nothing(
    scratch: Path, engine: str, direct: bool, place: int
) -> None:
    written: list[memoryview | bytes] = [block(1), block(2), block(3)]
    read: list[memoryview | bytearray] = [memoryview(aligned_buffer(BLOCK)) for _ in range(3)]
    written[place:place] = [b""] * 1500
    read[place:place] = [bytearray()] * 1500
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=direct) as file:
        assert file.pwritev(written, BLOCK, fua=True) == 3 * BLOCK
        assert file.preadv(read, BLOCK) == 3 * BLOCK
    assert b"".join(read) == b"".join(written)


@given(lengths=st.lists(st.integers(0, 5), max_size=40), offset=st.integers(0, 20))
def test_any_list_of_buffers_reads_back_as_any_other_of_the_same_length(
    lengths: list[int], offset: int
) -> None:
    content = bytes(range(1, sum(lengths) + 1))
    view, buffers = memoryview(content), []
    for length in lengths:
        buffers.append(view[:length])
        view = view[length:]
    descriptor = memory_file()
    try:
        with open_file(descriptor, "r+", engine="threads") as file:
            assert file.pwritev(buffers, offset, fua=True) == len(content)
            read = [bytearray(length) for length in reversed(lengths)]
            assert file.preadv(read, offset) == len(content)
            assert b"".join(read) == content
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def long_file() -> Iterator[int]:
    """A descriptor of a file of `LONG` bytes in memory, where there is room for it.

    One for all, since memory costs most when it is touched first: a test must tell what it writes
    there from what others wrote.
    """
    found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    if found is None or int(found[1]) << 10 < 5 << 30:
        pytest.skip("less than 5 GiB of memory are free, room for two runs")
    descriptor = memory_file()
    os.truncate(descriptor, LONG)
    yield descriptor
    os.close(descriptor)


def test_a_write_past_two_gib_is_split_all_of_it_with_the_flag(
    long_file: int, engine: str, faults: Faults
) -> None:
    length = LONG - BLOCK
    first = 1 + 4 * ENGINES.index(engine)
    marks = dict(enumerate((0, PIECE - 1, PIECE, length - 1), start=first))
    with mmap.mmap(-1, length) as data:  # one page of zeros, but for the marks
        for mark, place in marks.items():
            data[place] = mark
        with open_file(long_file, "r+", engine=engine) as file:
            flags = file.supported_write_flags
            assert file.pwrite(data, BLOCK, fua=True) == length
            seen = [(write.offset, write.length, write.flags) for write in faults.seen(WRITE)]
            assert seen == [(BLOCK, PIECE, flags), (BLOCK + PIECE, 3 * BLOCK, flags)]
            assert file.size == BLOCK + length
            for mark, place in marks.items():
                assert file.pread(1, BLOCK + place) == bytes([mark])


def test_a_read_past_two_gib_is_split(long_file: int, engine: str, faults: Faults) -> None:
    length = PIECE + 3 * BLOCK
    mark = engine.encode()
    holes = memory_file()
    os.truncate(holes, length)
    os.pwrite(holes, mark, PIECE)
    with mmap.mmap(long_file, length) as data, open_file(holes, engine=engine) as file:
        os.close(holes)
        assert file.pread_into(data, 0) == length
        assert data[PIECE - 1 : PIECE + len(mark)] == b"\0" + mark
    assert [(read.offset, read.length) for read in faults.seen(READ)] == [
        (0, PIECE),
        (PIECE, 3 * BLOCK),
    ]
