"""aio/once.c: who asks it wrongly is told so, and a buffer is exported as long as it must be."""

from __future__ import annotations

import mmap
import sys
import weakref
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_files import BLOCK, block, make
from faults_table import ANSWER, HOLD, WRITE, Faults
from life_files import is_exported, leave_held_call, leave_held_write
from needs import need_engine

from fuaio.aio import ClosedError, open_file
from fuaio.aio._once import begin, bind, once

pytestmark = pytest.mark.combination


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: bind(0, 1), ValueError, "no address of a function"),
        (lambda: bind(1, 0), ValueError, "no address of a function"),
        (lambda: bind(1, "x"), TypeError, "int"),  # type: ignore[arg-type]  # that is the question
        (lambda: bind(1), TypeError, "2 arguments are wanted, not 1"),  # type: ignore[call-arg]  # likewise
        (lambda: once(1, 2), TypeError, "7 arguments are wanted, not 2"),  # type: ignore[call-arg]  # likewise
        (lambda: begin(1, 2), TypeError, "8 arguments are wanted, not 2"),  # type: ignore[call-arg]  # likewise
    ],
)
def test_a_wrong_call_is_refused(
    call: Callable[[], object], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        call()


def test_numbers_that_are_none_are_refused_and_nothing_is_exported(
    scratch: Path, engine: str, faults: Faults
) -> None:
    data = bytearray(BLOCK)
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        faults.restart()
        with pytest.raises(TypeError, match="int"):
            file.pwrite(data, "0")  # type: ignore[arg-type]  # that is the question
        with pytest.raises(OverflowError):
            file.pwrite(data, 1 << 63)
        for nothing_or_some in (b"", data):
            with pytest.raises(ValueError, match="offset -1 is negative"):
                file.pwrite(nothing_or_some, -1)
        assert faults.seen() == []
        assert not is_exported(data)
        assert file.pwrite(data, 0, fua=True) == BLOCK


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "array", "mmap"])
def test_every_kind_of_buffer_is_written_and_let_go(
    scratch: Path, engine: str, kind: type | str
) -> None:
    path = make(scratch / "file")
    made: dict[type | str, Callable[[bytes], Any]] = {
        bytes: bytes,
        bytearray: bytearray,
        memoryview: memoryview,
        "array": lambda content: array("q", content),
        "mmap": mapped,
    }
    data = made[kind](bytes(block(3)))
    with open_file(path, "r+", engine=engine) as file:
        for _ in range(3):
            assert file.pwrite(data, 0, fua=True) == BLOCK
        if isinstance(data, mmap.mmap):
            data.close()  # refused while it is exported
        elif isinstance(data, bytearray):
            assert not is_exported(data)
    assert path.read_bytes()[:BLOCK] == block(3)


def mapped(content: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


def test_a_read_into_what_is_read_only_is_refused(scratch: Path, engine: str) -> None:
    with (
        open_file(make(scratch / "file"), "r", engine=engine) as file,
        pytest.raises(TypeError, match="read-only, and a read writes into it"),
    ):
        file.pread_into(bytes(BLOCK), 0)


def test_a_request_that_failed_can_be_followed_by_one_that_does_not(
    scratch: Path, engine: str, faults: Faults
) -> None:
    """Its place is used again, and must not remember."""
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=True) as file:
        faults.restart()
        faults.rule(WRITE, ANSWER, -5)
        with pytest.raises(OSError, match="Input/output error") as failed:
            file.pwrite(block(1), 0)
        assert vars(failed.value)["bytes_written"] == 0
        assert file.pwrite(block(2), BLOCK) == BLOCK
        assert file.pread(BLOCK, BLOCK) == block(2)


def test_what_a_signal_leaves_in_flight_stays_exported_and_its_place_is_not_used_again(
    scratch: Path, faults: Faults
) -> None:
    need_engine("io_uring")
    path = make(scratch / "file")
    data = bytearray(block(1))
    with open_file(path, "r+", engine="io_uring", depth=4) as file:
        file.pwrite(block(9), 3 * BLOCK)  # a place that the next call takes
        faults.restart()
        leave_held_write(file, data, faults)
        assert is_exported(data)
        for n in (1, 2):
            assert file.pwrite(block(n + 1), n * BLOCK) == BLOCK
        assert is_exported(data)
        faults.release()
    assert not is_exported(data)
    assert path.read_bytes()[: 3 * BLOCK] == b"".join(map(bytes, map(block, (1, 2, 3))))


def test_empty_data_asks_nothing_of_c_and_a_closed_file_refuses_it(
    scratch: Path, engine: str, faults: Faults
) -> None:
    file = open_file(make(scratch / "file"), "r+", engine=engine)
    faults.restart()
    assert (file.pwrite(b"", 7, fua=True), file.pread_into(bytearray(), 7)) == (0, 0)
    assert faults.seen() == []
    file.close()
    with pytest.raises(ClosedError, match="closed"):
        file.pwrite(b"", 0)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python's own __buffer__ came with 3.12")
def test_the_export_that_the_kernel_uses_is_the_one_that_is_kept(
    scratch: Path, faults: Faults
) -> None:
    """An object may show other memory each time it is asked."""
    need_engine("io_uring")

    class Memory(bytearray):
        pass

    shown: list[weakref.ref[Memory]] = []

    class Fresh:
        def __buffer__(self, flags: int) -> memoryview:
            memory = Memory(block(1))
            shown.append(weakref.ref(memory))
            return memoryview(memory)

    with open_file(make(scratch / "file"), "r+", engine="io_uring", depth=4) as file:
        faults.restart()
        fresh = Fresh()
        faults.rule(WRITE, HOLD)
        leave_held_call(lambda: file.pwrite(fresh, 0), faults)
        are_alive = [memory() is not None for memory in shown]
        faults.release()
    assert are_alive == [True]
