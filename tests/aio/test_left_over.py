"""What is dropped, ended or forked at an odd moment keeps what the kernel has, and nothing else."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import pytest
from async_files import in_child
from core_files import BLOCK, make
from faults_table import Faults
from life_files import (
    Interrupted,
    LeftBySignalError,
    descriptors,
    is_exported,
    leave_held_write,
)
from needs import need_engine

from fuaio.aio import BatchError, BufferPool, ClosedError, _queue, open_file


@pytest.fixture
def data() -> bytearray:
    return bytearray(b"x" * BLOCK)


def test_a_file_that_is_dropped_after_a_signal_ended_its_close_keeps_what_the_kernel_has(
    scratch: Path, faults: Faults, data: bytearray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C twice in a block: once in the write, once in the close at the block's end."""
    need_engine("io_uring")
    file = open_file(make(scratch / "file"), "r+", engine="io_uring")
    leave_held_write(file, data, faults)

    def ended(queue: _queue.Queue, wait_ms: int = 0) -> bool:
        raise LeftBySignalError

    with monkeypatch.context() as patched:
        patched.setattr(_queue.Queue, "close", ended)
        with pytest.raises(LeftBySignalError):
            file.close()
    assert file.closed
    del file
    gc.collect()
    assert is_exported(data)
    faults.release()
    while _queue._left_over:
        _queue.close_left_over()
    assert not is_exported(data)


def test_a_signal_when_c_has_closed_leaves_a_number_that_nobody_closes_again(
    scratch: Path, engine: str, data: bytearray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python has not noted yet that the descriptor is closed; by then its number is another's."""
    file = open_file(make(scratch / "file"), "r+", engine=engine)
    number = file.fileno()
    with monkeypatch.context() as patched:
        patched.setattr(_queue, "lib", Interrupted("fuaio_queue_close"))
        with pytest.raises(LeftBySignalError):
            file.close()
    other = os.open(scratch / "other", os.O_CREAT | os.O_RDWR)
    if other != number:
        os.dup2(other, number, inheritable=False)
        os.close(other)

    def child() -> None:
        file.close()
        os.fstat(number)

    try:
        with pytest.raises(ClosedError):
            file.pwrite(data, 0, fua=True)
        with pytest.raises(BatchError, match="closed meanwhile"):
            file.write_batch([0], [data])
        assert not is_exported(data)
        assert in_child(child) == 0
        file.close()
        os.fstat(number)
        assert os.pread(number, 1, 0) == b""
    finally:
        os.close(number)


def test_the_end_of_the_interpreter_keeps_every_queue_that_it_did_not_come_to_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Waiting:
        is_closed = False

        def close(self) -> bool:
            raise KeyboardInterrupt

    waiting = [Waiting(), Waiting()]
    kept: list[object] = []
    monkeypatch.setattr(_queue, "_live", waiting)
    monkeypatch.setattr(_queue, "_keep_for_ever", kept.append)
    with pytest.raises(KeyboardInterrupt):
        _queue._close_all()
    assert kept == waiting


def test_a_forked_child_that_goes_on_trying_keeps_nothing(scratch: Path, engine: str) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        data = bytearray(8)
        assert file.pwrite(data, 0) == 8

        def child() -> None:
            for _ in range(5):
                with pytest.raises(ClosedError, match="another process"):
                    file.pwrite(data, 0)
            assert file._queue._abandoned == []
            assert not is_exported(data)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, 3.12
            assert in_child(child) == 0


def test_a_pool_that_is_none_leaves_no_file_and_no_descriptor(scratch: Path, engine: str) -> None:
    path, before = scratch / "new", descriptors()
    with pytest.raises(TypeError, match="pass a BufferPool"):
        open_file(path, "x+", engine=engine, pool=bytearray(8))  # type: ignore[arg-type]  # wrong
    assert not path.exists()
    assert descriptors() == before


def test_a_pool_whose_opening_failed_is_collected_with_the_error(scratch: Path) -> None:
    """Python clears a view in a cycle though it is exported, and then its owner crashes."""
    pool = BufferPool(2, BLOCK)
    with pytest.raises(FileNotFoundError) as missing:
        open_file(scratch / "missing", "r", pool=pool)
    error = missing.value
    error.__cause__ = Exception(error, pool)
    del pool, missing, error
    gc.collect()
