"""aio/pieces.c: who asks it wrongly is told so, and nothing stays exported longer than it must."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from core_files import make
from life_files import is_exported

from fuaio.aio import open_file
from fuaio.aio._batch import place_of_piece
from fuaio.aio._pieces import export

pytestmark = pytest.mark.combination
OFFSETS = array("q", [0, 8, 16])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: export(OFFSETS), "4 arguments are wanted, not 1"),  # type: ignore[call-arg]  # that is the question
        (lambda: export(3, b"x", False, None), "int"),  # type: ignore[arg-type]  # likewise
        (lambda: export(OFFSETS, 3, False, None), "int"),  # type: ignore[arg-type]  # likewise
        (lambda: type(export(OFFSETS, b"", False, None))(), "cannot create"),
    ],
)
def test_a_wrong_call_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call()


def test_each_release_ends_what_it_names() -> None:
    buffers = [bytearray(8), bytearray(9), bytearray()]
    latencies = array("Q", bytes(24))
    pieces = export(OFFSETS, buffers, True, latencies)
    assert (pieces.count, pieces.length) == (3, 17)
    assert all(map(is_exported, buffers))
    for _ in range(2):
        pieces.release()
        assert not any(map(is_exported, buffers))
        with pytest.raises(BufferError):
            latencies.append(0)
    for _ in range(2):
        pieces.release_latencies()
    latencies.append(0)
    assert [place_of_piece(pieces, n)[::2] for n in range(3)] == [(0, 8), (8, 9), (16, 0)]


def test_what_is_dropped_without_a_word_exports_nothing() -> None:
    data, latencies = bytearray(24), array("Q", bytes(24))
    del (pieces := [export(OFFSETS, data, True, latencies)])[:]
    assert not pieces
    assert not is_exported(data)
    latencies.append(0)


@pytest.mark.parametrize("wrong", [b"read-only", "no buffer", memoryview(bytes(8))[::2]])
def test_where_one_cannot_be_exported_none_is(wrong: object) -> None:
    good = bytearray(8)
    with pytest.raises((BufferError, TypeError)):
        export(OFFSETS, [good, wrong, good], True, None)  # type: ignore[list-item]  # that is the question
    assert not is_exported(good)


def test_latencies_that_cannot_be_written_leave_nothing_exported() -> None:
    good = bytearray(24)
    with pytest.raises(BufferError):
        export(OFFSETS, good, True, bytes(24))
    assert not is_exported(good)


def test_one_buffer_is_cut_into_equal_blocks() -> None:
    pieces = export(OFFSETS, bytes(24), False, None)
    places = [place_of_piece(pieces, n) for n in range(3)]
    first = places[0][1]
    assert places == [(0, first, 8), (8, first + 8, 8), (16, first + 16, 8)]


@pytest.mark.parametrize("kind", [list, tuple])
def test_what_is_counted_is_what_was_taken_and_not_what_a_list_says(kind: type) -> None:
    class Lies(kind):  # type: ignore[misc]  # one of two
        def __iter__(self) -> Iterator[bytearray]:
            return iter([good])

    good = bytearray(8)
    with pytest.raises(ValueError, match="3 offsets and 1 buffers"):
        export(OFFSETS, Lies([bytes(8)] * 3), False, None)
    with pytest.raises(ValueError, match="2 offsets and 3 buffers"):
        export(OFFSETS[:2], [good] * 3, True, None)
    assert not is_exported(good)


def test_latencies_of_another_count_are_refused() -> None:
    good, latencies = bytearray(24), array("Q", bytes(16))
    with pytest.raises(ValueError, match="16 bytes for 3 requests"):
        export(OFFSETS, good, True, latencies)
    latencies.append(0)
    assert not is_exported(good)


def test_offsets_that_another_thread_resizes_are_refused_or_written_whole(scratch: Path) -> None:
    """Between two looks at how many there are, they must not become more than the buffers."""
    offsets, is_over = array("q", range(300)), threading.Event()

    def resize() -> None:
        while not is_over.is_set():
            with suppress(BufferError):
                offsets.append(1)
                offsets.pop()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    resizer = threading.Thread(target=resize)
    resizer.start()
    try:
        with open_file(make(scratch / "file"), "r+", engine="threads") as file:
            for _ in range(200):
                with suppress(ValueError):
                    assert file.write_batch(offsets, [b"x"] * 300, durable=None) == 300
    finally:
        is_over.set()
        resizer.join()
        sys.setswitchinterval(before)
