"""Batches: many reads or writes by one call; what is taken, what is refused, what fails alone."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from core_files import (
    BLOCK,
    DSYNC,
    assert_idle,
    batch,
    block,
    emulating,
    has_blocks,
    make,
    opened,
    threads,
)
from faults_table import ANSWER, FAIL, FLUSH, HOLD, READ, SHORT, SUBMIT, TAKE, WRITE, Faults
from life_files import is_exported
from needs import need_engine

from fuaio.aio import AlignmentError, BatchError, ClosedError, File, Fua, open_file

Durable = Literal["fua", "flush", "auto"] | None

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
DURABLE = pytest.mark.parametrize("durable", ["fua", "flush", "auto", None])
ONE_WAY = pytest.mark.parametrize("durable", ["fua", "flush", None])
RING_ENGINES = pytest.mark.parametrize("engine", ["io_uring", "linux_aio"], indirect=True)


def failures_of(file: File, durable: Durable, count: int) -> dict[int, Exception]:
    """Write *count* blocks, of which some fail, and give how."""
    with pytest.raises(BatchError) as caught:
        file.write_batch(*batch(count), durable=durable)
    return caught.value.failures


# ---- what reaches the file and the kernel ----


@pytest.mark.combination
@DIRECT
@DURABLE
@pytest.mark.parametrize("depth", [1, 3, 32])
def test_every_write_of_a_batch_is_where_it_belongs(
    scratch: Path, engine: str, faults: Faults, direct: bool, durable: Durable, depth: int
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=direct, depth=depth) as file:
        assert file.write_batch(*batch(10, first=7), durable=durable) == 10 * BLOCK
    assert has_blocks(path, range(7, 17))
    assert len(faults.seen(WRITE)) == 10


@pytest.mark.combination
def test_every_durable_write_of_a_batch_carries_the_flag_or_is_flushed_after_it(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True, depth=4) as file:
        native = file.can_fua is Fua.NATIVE
        file.write_batch(*batch(10), durable="fua")
    assert [write.flags for write in faults.seen(WRITE)] == [DSYNC if native else 0] * 10
    if native:
        assert faults.seen(FLUSH) == []
    else:
        assert faults.seen()[-1].kind == FLUSH


@pytest.mark.combination
@DIRECT
def test_a_plain_batch_carries_no_flag_and_needs_no_flush(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with opened(make(scratch / "file"), engine, direct=direct) as file:
        file.write_batch(*batch(10), durable=None)
    assert [(request.kind, request.flags) for request in faults.seen()] == [(WRITE, 0)] * 10


def test_a_batch_is_durable_unless_it_is_said_otherwise(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file:
        native = file.can_fua is Fua.NATIVE
        file.write_batch(*batch(2))
    assert {write.flags for write in faults.seen(WRITE)} == {DSYNC if native else 0}
    assert native or faults.seen(FLUSH)


@DIRECT
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_as_many_writes_as_the_depth_are_in_flight_at_once(
    scratch: Path, faults: Faults, depth: int, direct: bool
) -> None:
    need_engine("io_uring")
    with (
        opened(make(scratch / "file"), "io_uring", direct=direct, depth=depth) as file,
        threads() as start,
    ):
        faults.rule(WRITE, HOLD, times=-1)
        written = start(file.write_batch, *batch(7), durable=None)
        faults.wait_held(depth)
        assert len(faults.seen(WRITE)) == depth
        faults.forget_rules()
        faults.release()
        assert written.result() == 7 * BLOCK


@DIRECT
def test_a_buffer_is_cut_into_a_block_for_each_offset(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = make(scratch / "file")
    whole = block(1, 8 * BLOCK)
    offsets = array("q", range(7 * BLOCK, -1, -BLOCK))
    with opened(path, engine, direct=direct, depth=3) as file:
        assert file.write_batch(offsets, whole, durable="fua") == 8 * BLOCK
        back = block(0, 8 * BLOCK)
        assert file.read_batch(offsets, back) == [BLOCK] * 8
    assert back == whole
    data = path.read_bytes()
    assert all(
        data[at : at + BLOCK] == whole[n * BLOCK : (n + 1) * BLOCK] for n, at in enumerate(offsets)
    )
    assert len(faults.seen(WRITE)) == 8


class Number:
    """An integer that is no int, as numpy has them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Vector(Sequence[Any]):
    """A sequence that is no list, as numpy's are."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = [Number(number) for number in numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: Any) -> Any:  # noqa: ANN401  # a slice too
        return self.numbers[at]


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        Vector,
        lambda o: array("q", o),
        lambda o: array("i", o),
        lambda o: range(3, 12, 3),
    ],
    ids=["list", "tuple", "numpy-like", "array-q", "array-i", "range"],
)
def test_offsets_are_taken_in_any_sequence_of_integers(
    scratch: Path,
    engine: str,
    kind: Any,  # noqa: ANN401  # of several kinds
) -> None:
    path = make(scratch / "file", 16)
    with opened(path, engine) as file:
        assert file.write_batch(kind([3, 6, 9]), b"abcdefghi", durable=None) == 9
        assert file.read_batch(kind([3, 6, 9]), bytearray(6)) == [2, 2, 2]
    assert path.read_bytes() == b"\0\0\0abcdefghi\0\0\0\0"


def test_offsets_in_bytes_are_a_number_each(scratch: Path, engine: str) -> None:
    path = make(scratch / "file", 16)
    offsets = bytes(range(8))  # eight of them, not one of eight bytes
    with opened(path, engine) as file:
        assert file.write_batch(offsets, b"abcdefgh", durable=None) == 8
    assert path.read_bytes()[:8] == b"abcdefgh"


@RING_ENGINES
def test_offsets_that_change_during_the_call_change_nothing(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file", 16)
    offsets = array("q", [0, 1, 2, 3])
    with opened(path, engine, depth=1) as file, threads() as start:
        faults.rule(WRITE, HOLD)
        written = start(file.write_batch, offsets, b"abcd", durable=None)
        faults.wait_held()
        offsets[1:] = array("q", [-1, 1 << 40, 9])
        faults.release()
        assert written.result() == 4
    assert path.read_bytes() == b"abcd" + bytes(12)


def test_a_batch_takes_lists_and_tuples_of_any_buffers(scratch: Path, engine: str) -> None:
    path = make(scratch / "file", 16)
    buffers = (b"ab", bytearray(b"c"), memoryview(b"xdex")[1:3], array("B", b"f"), b"")
    with opened(path, engine) as file:
        assert file.write_batch([0, 2, 3, 5, 9], buffers) == 6
    assert path.read_bytes()[:6] == b"abcdef"


def test_the_same_buffer_may_be_written_to_several_places(scratch: Path, engine: str) -> None:
    path, data = make(scratch / "file", 16), bytearray(b"ab")
    with opened(path, engine) as file:
        assert file.write_batch([0, 4, 8], [data] * 3) == 6
    assert path.read_bytes() == b"ab\0\0ab\0\0ab\0\0\0\0\0\0"
    assert not is_exported(data)


@DIRECT
def test_read_batch_tells_how_much_of_each_buffer_was_filled(
    scratch: Path, engine: str, direct: bool
) -> None:
    path = make(scratch / "file", 2 * BLOCK + 512)
    with opened(path, engine, direct=direct) as file:
        buffers = [block(1), block(1), block(1), block(1)]
        offsets = [0, BLOCK, 2 * BLOCK, 9 * BLOCK]
        assert file.read_batch(offsets, buffers) == [BLOCK, BLOCK, 512, 0]
    assert buffers[0] == bytes(BLOCK)
    assert buffers[2][:512] == bytes(512)
    if not direct:  # there the kernel fills the block that the file ends in
        assert buffers[2][512:] == block(1)[512:]


@DURABLE
def test_empty_buffers_are_done_and_nothing_is_submitted_for_them(
    scratch: Path, engine: str, faults: Faults, durable: Durable
) -> None:
    with opened(make(scratch / "file"), engine, depth=2) as file:
        assert file.write_batch([0] * 5, [b""] * 5, durable=durable) == 0
        assert faults.seen() == []
        buffers = [b"", b"a", b"", b"", b"b", b""]
        assert file.write_batch(range(6), buffers, durable=durable) == 2
        assert len(faults.seen(WRITE)) == 2
        assert file.read_batch([0, 1], [bytearray(), bytearray(1)]) == [0, 1]


@DIRECT
def test_an_empty_write_and_read_are_done_at_any_offset(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with opened(make(scratch / "file"), engine, direct=direct) as file:
        assert file.pwrite(b"", 1, fua=True) == 0
        assert file.pread_into(bytearray(), 1) == 0
    assert faults.seen() == []


# ---- what is refused, and nothing begun ----


@pytest.fixture
def file(scratch: Path, engine: str, faults: Faults) -> Iterator[File]:
    """A file to which nothing is submitted."""
    with opened(make(scratch / "file"), engine, direct=True) as file:
        yield file
    assert faults.seen() == []


@pytest.mark.parametrize(
    ("offsets", "buffers", "why"),
    [
        ([], [], "empty"),
        ([], block(1), "empty"),
        ([0, BLOCK], [block(1)], "2 offsets and 1 buffers"),
        ([0], [block(1)] * 2, "1 offsets and 2 buffers"),
        ([0, BLOCK, 2 * BLOCK], block(1), "cannot be cut into 3"),
        ([0, BLOCK], b"", "cannot be cut into 2"),
        ([0, -BLOCK], [block(1)] * 2, r"request 1: offset -4096 is negative"),
    ],
)
def test_a_batch_whose_parts_do_not_match_is_refused(
    file: File,
    offsets: list[int],
    buffers: Any,  # noqa: ANN401  # of several kinds
    why: str,
) -> None:
    with pytest.raises(ValueError, match=why):
        file.write_batch(offsets, buffers)


def test_what_durable_cannot_be_is_refused(file: File) -> None:
    for durable in ("", "FUA", "fsync", True, 1):
        with pytest.raises(ValueError, match="durable is"):
            file.write_batch([0], [block(1)], durable=cast("Any", durable))


def test_a_misaligned_piece_of_a_list_is_named(file: File) -> None:
    buffers: list[Any] = [block(1), block(1), block(1)]
    with pytest.raises(AlignmentError, match="request 1: offset 1:"):
        file.write_batch([0, 1, 2], buffers)
    buffers[2] = block(1)[:100]
    with pytest.raises(AlignmentError, match="request 2: length 100 "):
        file.write_batch([0, BLOCK, 2 * BLOCK], buffers)
    buffers[2] = block(1, 2 * BLOCK)[1 : BLOCK + 1]
    with pytest.raises(AlignmentError, match=r"request 2: address 0x[0-9a-f]*1 "):
        file.write_batch([0, BLOCK, 2 * BLOCK], buffers)


def test_a_misaligned_piece_of_one_buffer_is_named(file: File) -> None:
    with pytest.raises(AlignmentError, match="request 0: length 1000 "):
        file.write_batch([0, BLOCK], block(1, 2000))
    with pytest.raises(AlignmentError, match=r"request 0: address 0x[0-9a-f]*1 "):
        file.read_batch([0, BLOCK], block(1, 3 * BLOCK)[1 : 2 * BLOCK + 1])


def test_what_is_no_buffer_or_no_offset_is_refused_and_nothing_stays_exported(file: File) -> None:
    data = bytearray(BLOCK)
    refused: list[tuple[Any, Any, type[Exception]]] = [
        ([0, 1], [data, 5], TypeError),
        ([0, 1], [data, "text"], TypeError),
        ([0], 5, TypeError),
        ([0.5], [data], TypeError),
        (["0"], [data], TypeError),
        (5, [data], TypeError),
        ([1 << 63], [data], OverflowError),
        ([0, -1], [data, data], ValueError),
        ([0, 0, 0], data, ValueError),
    ]
    for offsets, buffers, kind in refused:
        with pytest.raises(kind):
            file.write_batch(offsets, buffers)
        assert not is_exported(data)
    with pytest.raises(TypeError, match="read-only"):
        file.read_batch([0, 1], [data, bytes(BLOCK)])
    assert not is_exported(data)


def test_a_closed_file_refuses_a_batch(file: File) -> None:
    file.close()
    with pytest.raises(ClosedError):
        file.write_batch([0], [block(1)])
    with pytest.raises(ClosedError):
        file.read_batch([0], [block(1)])


# ---- faults ----


@pytest.mark.combination
@DIRECT
@ONE_WAY
def test_short_writes_of_a_batch_go_on_at_their_tails_with_the_same_flags(
    scratch: Path, engine: str, faults: Faults, direct: bool, durable: Durable
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=direct, depth=4) as file:
        native = file.can_fua is Fua.NATIVE and direct and durable == "fua"
        faults.rule(WRITE, SHORT, 512, nth=2, times=9)
        assert file.write_batch(*batch(12), durable=durable) == 12 * BLOCK
    assert has_blocks(path, range(12))
    if direct:
        assert {write.flags for write in faults.seen(WRITE)} == {DSYNC if native else 0}
    if durable and not native and direct:
        last = max(n for n, request in enumerate(faults.seen()) if request.kind == WRITE)
        # Of a group one; without groups a flush may be in flight when the last write completes.
        after = [request.kind for request in faults.seen()[last + 1 :]]
        assert set(after) == {FLUSH}
        assert durable == "fua" or len(after) == 1


def test_short_reads_of_a_batch_go_on(scratch: Path, engine: str, faults: Faults) -> None:
    path = make(scratch / "file")
    path.write_bytes(b"".join(batch(12)[1]))
    with opened(path, engine, depth=4) as file:
        faults.rule(READ, SHORT, 100, nth=3, times=9)
        offsets, buffers = batch(12)
        for buffer in buffers:
            buffer[:] = bytes(BLOCK)
        assert file.read_batch(offsets, buffers) == [BLOCK] * 12
    assert buffers == batch(12)[1]


@ONE_WAY
@pytest.mark.parametrize("code", [errno.EINTR, errno.EAGAIN, errno.ECANCELED])
def test_completions_that_say_again_are_prepared_again_with_their_flags(
    scratch: Path, engine: str, faults: Faults, durable: Durable, code: int
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True, depth=4) as file:
        native = file.can_fua is Fua.NATIVE and durable == "fua"
        faults.rule(WRITE, ANSWER, -code, nth=3, times=5)
        faults.rule(FLUSH, ANSWER, -code)
        assert file.write_batch(*batch(9), durable=durable) == 9 * BLOCK
    writes = faults.seen(WRITE)
    assert len(writes) == 9 + 5
    assert {write.flags for write in writes} == {DSYNC if native else 0}
    assert has_blocks(path, range(9))


@RING_ENGINES
@DURABLE
@pytest.mark.parametrize(("action", "value"), [(TAKE, 1), (TAKE, 2), (FAIL, -errno.EAGAIN)])
def test_a_kernel_that_takes_a_part_of_a_batch_gets_the_rest_once(
    scratch: Path, engine: str, faults: Faults, durable: Durable, action: int, value: int
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True, depth=5) as file:
        faults.rule(SUBMIT, action, value, times=3)
        assert file.write_batch(*batch(14), durable=durable) == 14 * BLOCK
    assert has_blocks(path, range(14))
    assert sorted(write.offset for write in faults.seen(WRITE)) == batch(14)[0]


@DIRECT
@DURABLE
def test_one_write_that_fails_is_told_by_its_number_and_all_others_are_done(
    scratch: Path, engine: str, faults: Faults, direct: bool, durable: Durable
) -> None:
    if durable in ("fua", "auto") and not direct:  # auto begins as fua does
        pytest.skip("on a file of the page cache a durable write that fails latches")
    path = make(scratch / "file")
    with opened(path, engine, direct=direct, depth=3) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=6)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(10), durable=durable)
        error = caught.value
        assert error.errno == errno.EIO
        assert error.filename == str(path)
        assert "1 of 10 requests failed, the first is number 5" in str(error)
        assert list(error.failures) == [5]
        failure = error.failures[5]
        assert isinstance(failure, OSError)
        assert (type(failure), failure.errno) == (OSError, errno.EIO)
        assert vars(failure)["bytes_written"] == 0
    assert has_blocks(path, [number for number in range(10) if number != 5])


def test_a_failure_tells_how_much_of_its_write_was_taken(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True, depth=1) as file:
        faults.rule(WRITE, SHORT, 1024, nth=3)
        faults.rule(WRITE, ANSWER, -errno.ENOSPC, nth=4)
        failures = failures_of(file, "fua", 5)
    assert list(failures) == [2]
    assert isinstance(failures[2], OSError)
    assert failures[2].errno == errno.ENOSPC
    assert vars(failures[2])["bytes_written"] == 1024


@DURABLE
def test_a_full_disk_fails_the_writes_that_found_it_full(
    scratch: Path, engine: str, faults: Faults, durable: Durable
) -> None:
    with opened(make(scratch / "file"), engine, direct=True, depth=4) as file:
        faults.rule(WRITE, ANSWER, -errno.ENOSPC, nth=2, times=2)
        faults.rule(WRITE, ANSWER, 0, nth=4)
        failures = failures_of(file, durable, 8)
        assert file.write_batch(*batch(8), durable=durable) == 8 * BLOCK
    assert list(failures) == [1, 2, 3]
    codes = [getattr(failure, "errno", None) for failure in failures.values()]
    assert codes == [errno.ENOSPC] * 3


def test_a_read_that_fails_is_told_by_its_number_and_all_others_are_done(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    path.write_bytes(b"".join(batch(8)[1]))
    with opened(path, engine, depth=3) as file:
        offsets, buffers = batch(8, first=0)
        for buffer in buffers:
            buffer[:] = bytes(BLOCK)
        faults.rule(READ, ANSWER, -errno.EIO, nth=4)
        with pytest.raises(BatchError) as caught:
            file.read_batch(offsets, buffers)
    assert list(caught.value.failures) == [3]
    del buffers[3]
    assert buffers == [block(number) for number in range(8) if number != 3]


@DURABLE
def test_a_withheld_completion_keeps_the_batch_and_none_of_its_other_writes(
    scratch: Path, engine: str, faults: Faults, durable: Durable
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=True, depth=3) as file, threads() as start:
        faults.rule(WRITE, HOLD, nth=2)
        written = start(file.write_batch, *batch(9), durable=durable)
        faults.wait_held()
        # A group is flushed with its last write: three are begun before the held one ends.
        waits = durable == "flush" or (durable and file.can_fua is not Fua.NATIVE)
        faults.wait_seen(WRITE, 2 if engine == "threads" else 3 if waits else 9)
        assert not written.done()
        faults.release()
        assert written.result() == 9 * BLOCK
    assert has_blocks(path, range(9))


@DIRECT
def test_a_kernel_without_the_flag_is_learnt_in_the_middle_of_a_batch(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, direct=direct, depth=4) as file:
        if file.can_fua is not Fua.NATIVE:
            pytest.skip(f"the header that {engine} was built with has no writev2 helper")
        flagged = 4 if direct and engine != "threads" else 1  # at once
        faults.rule(WRITE, ANSWER, -errno.EOPNOTSUPP, times=flagged)
        assert file.write_batch(*batch(9), durable="fua") == 9 * BLOCK
        assert file.supported_write_flags == 0
    requests = faults.seen()
    written = [request for request in requests if request.kind == WRITE]
    assert [write.flags for write in written[:flagged]] == [DSYNC] * flagged
    assert {write.flags for write in written[flagged:]} == {0}
    assert requests[-1].kind == FLUSH
    assert has_blocks(path, range(9))


def test_emulated_writes_of_a_batch_share_flushes(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with emulating(path, engine, faults, direct=True, depth=8) as file:
        assert file.write_batch(*batch(32), durable="fua") == 32 * BLOCK
        assert len(faults.seen(FLUSH)) <= 32
        assert faults.seen()[-1].kind == FLUSH
        assert {write.flags for write in faults.seen(WRITE)} == {0}
        assert_idle(file)
    assert has_blocks(path, range(32))


def test_a_buffer_cannot_be_resized_while_its_batch_is_under_way(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file, threads() as start:
        data, back = [bytearray(b"x" * 16) for _ in range(4)], bytearray(64)
        faults.rule(WRITE, HOLD)
        written = start(file.write_batch, range(0, 64, 16), data)
        faults.wait_held()
        for buffer in data:
            with pytest.raises(BufferError):
                buffer.append(0)
        faults.release()
        assert written.result() == 64
        faults.rule(READ, HOLD)
        read: Any = start(file.read_batch, range(0, 64, 16), back)
        faults.wait_held()
        with pytest.raises(BufferError):
            back.append(0)
        faults.release()
        assert read.result() == [16] * 4
        for buffer in (*data, back):
            buffer.append(0)
        assert_idle(file)
