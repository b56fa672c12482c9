"""The kernel took less than it was asked: the tail goes again, with its flags, to its place."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from core_files import BLOCK, DSYNC, block, emulating, make, opened, threads
from faults_table import ANSWER, FLUSH, READ, SHORT, WRITE, Faults, Seen

from fuaio.aio import Fua, open_file

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
LENGTH = 2048


def assert_all_flagged(writes: list[Seen], native: bool) -> None:
    assert [write.flags for write in writes] == [DSYNC if native else 0] * len(writes)


@DIRECT
def test_a_write_cut_at_any_length_is_written_whole(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = make(scratch / "file")
    data = block(7, LENGTH)
    with opened(path, engine, direct=direct) as file:
        native = file.can_fua is Fua.NATIVE
        for cut in range(1, LENGTH, 64 if direct else 7):
            faults.restart()
            faults.rule(WRITE, SHORT, cut)
            file.pwrite(bytes(LENGTH) if not direct else block(0, LENGTH), 0)
            faults.restart()
            faults.rule(WRITE, SHORT, cut)
            assert file.pwrite(data, 0, fua=True) == LENGTH
            assert file.pread(LENGTH, 0) == data
            first, tail = faults.seen(WRITE)
            taken = cut // file.offset_align * file.offset_align
            assert (first.offset, first.length, tail.offset) == (0, LENGTH, taken)
            assert tail.length == LENGTH - taken
            assert_all_flagged([first, tail], native)
            assert len(faults.seen(FLUSH)) == (0 if native else 1)


def test_a_list_of_buffers_cut_at_any_length_is_written_whole(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    lengths = [1, 0, 30, 7, 64, 0]
    buffers = [
        bytes(block(n + 1, length)[:]) if length else b"" for n, length in enumerate(lengths)
    ]
    whole = b"".join(buffers)
    with opened(path, engine) as file:
        for cut in range(1, len(whole)):
            file.pwrite(bytes(len(whole)), 0)
            faults.restart()
            faults.rule(WRITE, SHORT, cut)
            assert file.pwritev(buffers, 0, fua=True) == len(whole)
            assert file.pread(len(whole), 0) == whole
            assert faults.seen(WRITE)[1].offset == cut


def test_a_write_that_goes_one_byte_at_a_time_ends(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine) as file:
        faults.rule(WRITE, SHORT, 1, times=-1)
        assert file.pwrite(b"durable", 5, fua=True) == 7
        faults.forget_rules()
        assert file.pread(9, 4) == b"\0durable\0"
    assert [write.offset for write in faults.seen(WRITE)] == list(range(5, 12))


def test_an_emulated_write_in_pieces_is_flushed_once_after_the_last(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with emulating(make(scratch / "file"), engine, faults) as file:
        faults.rule(WRITE, SHORT, 1000)
        assert file.pwrite(block(1), 0, fua=True) == BLOCK
    assert [request.kind for request in faults.seen()] == [WRITE, WRITE, FLUSH]


@DIRECT
def test_a_write_of_which_nothing_was_taken_is_a_full_disk(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    with opened(make(scratch / "file"), engine, direct=direct) as file:
        faults.rule(WRITE, SHORT, 0)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(1), 0, fua=True)
    assert caught.value.errno == errno.ENOSPC


def test_an_error_of_the_tail_tells_how_much_was_written(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine) as file:
        faults.rule(WRITE, SHORT, 100)
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=2)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(1), 0, fua=True)
    assert caught.value.errno == errno.EIO
    assert vars(caught.value)["bytes_written"] == 100


def test_a_direct_write_without_progress_ends_with_an_error(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with opened(make(scratch / "file"), engine, direct=True) as file:
        faults.rule(WRITE, SHORT, 3, times=-1)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(1), 0, fua=True)
        assert caught.value.errno == errno.EIO
        assert vars(caught.value)["bytes_written"] == 0
        assert 2 <= len(faults.seen(WRITE)) < 200
        faults.restart()
        assert file.pwrite(block(2), 0, fua=True) == BLOCK


def test_a_read_cut_short_is_read_on(scratch: Path, engine: str, faults: Faults) -> None:
    path = scratch / "file"
    path.write_bytes(block(3))
    with opened(path, engine) as file:
        for cut in (1, 100, BLOCK - 1):
            faults.restart()
            faults.rule(READ, SHORT, cut)
            assert file.pread(BLOCK, 0) == block(3)
            assert [read.offset for read in faults.seen(READ)] == [0, cut]


@DIRECT
def test_a_read_past_the_end_gives_what_there_is(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = scratch / "file"
    path.write_bytes(bytes(block(3))[:1000])
    with opened(path, engine, direct=direct) as file:
        assert file.pread(BLOCK, 0) == block(3)[:1000]
        assert file.pread(BLOCK, BLOCK) == b""


def test_short_writes_of_many_threads_keep_apart(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file")
    with opened(path, engine, depth=4) as file, threads() as start:
        faults.rule(WRITE, SHORT, 1500, times=40)
        writes = [start(file.pwrite, block(n), n * BLOCK, fua=True) for n in range(32)]
        assert [write.result() for write in writes] == [BLOCK] * 32
    with open_file(path, engine="threads") as file:
        for n in range(32):
            assert file.pread(BLOCK, n * BLOCK) == block(n)
