"""Batches interrupted, closed or forked under way: nothing that the kernel uses is freed."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import sys
import threading
import tracemalloc
import warnings
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytest
from core_files import BLOCK, assert_idle, batch, block, has_blocks, make, opened, threads
from faults_table import FLUSH, HOLD, READ, SLOW, WRITE, Faults
from life_files import (
    LeftBySignalError,
    Waits,
    aio_contexts,
    descriptors,
    is_exported,
    leave_held_call,
)
from needs import need_engine

from fuaio.aio import BatchError, ClosedError, File, _batch, _buffers, _file, _queue, open_file
from fuaio.aio._core import ffi, lib
from fuaio.aio._pieces import Export, export

RING_ENGINES = pytest.mark.parametrize("engine", ["io_uring", "linux_aio"], indirect=True)
Durable = Literal["fua", "flush", "auto"] | None
DURABLE = pytest.mark.parametrize("durable", ["fua", "flush", "auto", None])

# ---- left by a signal ----


@RING_ENGINES
@DURABLE
def test_a_batch_left_by_a_signal_begins_no_more_and_keeps_what_the_kernel_has(
    scratch: Path, engine: str, faults: Faults, durable: Durable
) -> None:
    path = make(scratch / "file")
    data = [bytearray(b"%d" % number * BLOCK) for number in range(8)]
    with opened(path, engine, depth=3) as file:
        faults.rule(WRITE, HOLD, times=3)
        leave_held_call(
            lambda: file.write_batch(batch(8)[0], data, durable=durable), faults, count=3
        )
        # All of it: which of the buffers the kernel has is known to C alone.
        assert all(map(is_exported, data))
        faults.release()
        file.pread(1, 0)
        file.pread(1, 0)
        assert not any(map(is_exported, data))
        assert len(faults.seen(WRITE)) == 3
        assert faults.seen(FLUSH) == []  # for nobody
        assert file.write_batch(*batch(8), durable=durable) == 8 * BLOCK


@RING_ENGINES
def test_a_read_batch_left_by_a_signal_keeps_its_buffer_until_close(
    scratch: Path, engine: str, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, before = bytearray(8 * BLOCK), (descriptors(), aio_contexts())
    file = open_file(make(scratch / "file"), engine=engine, depth=3)
    faults.rule(READ, HOLD, times=3)
    leave_held_call(lambda: file.read_batch(batch(8)[0], data), faults, count=3)
    waits = threading.Event()
    monkeypatch.setattr(_queue, "lib", Waits("fuaio_queue_close", waits.set))
    closer = threading.Thread(target=file.close)
    closer.start()
    assert waits.wait(60)
    assert is_exported(data)
    faults.release()
    closer.join()
    assert not is_exported(data)
    assert (descriptors(), aio_contexts()) == before


@RING_ENGINES
def test_a_batch_left_on_a_dropped_file_keeps_its_memory_until_the_completions(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path, data = make(scratch / "file"), bytearray(b"x" * 8 * BLOCK)
    before = descriptors(), aio_contexts()
    files = [open_file(path, "r+", engine=engine, depth=3)]
    faults.rule(WRITE, HOLD, times=3)
    leave_held_call(lambda: files[0].write_batch(batch(8)[0], data), faults, count=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        files.clear()
        gc.collect()
    assert is_exported(data)
    faults.release()
    faults.forget_rules()
    open_file(path).close()
    assert not is_exported(data)
    assert (descriptors(), aio_contexts()) == before


def test_a_batch_that_a_signal_leaves_while_its_writes_wait_for_a_flush_does_not_block_others(
    scratch: Path, engine: str, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave() -> None:
        if threading.current_thread() is threading.main_thread():
            raise LeftBySignalError

    data = bytearray(4 * BLOCK)
    with opened(make(scratch / "file"), engine, depth=4) as file, threads() as start:
        faults.rule(FLUSH, HOLD)
        flushed = start(file.flush)
        faults.wait_held()
        monkeypatch.setattr(_queue, "lib", Waits("fuaio_batch_run", leave))
        with pytest.raises(LeftBySignalError):
            file.write_batch(batch(4)[0], data, durable="flush")
        monkeypatch.undo()
        assert not is_exported(data)  # all were written, and nobody waits for the flush
        faults.release()
        flushed.result()
        assert file.write_batch(*batch(4), durable="flush") == 4 * BLOCK


class Interrupt:
    """Raises at one of the steps that Python takes inside fuaio, as a signal handler may."""

    FILES = frozenset(str(module.__file__) for module in (_batch, _buffers, _file, _queue))

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, argument: object) -> Interrupt | None:
        if frame.f_code.co_filename not in self.FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if not self.left:
                raise LeftBySignalError
        return self


def interrupted(call: Callable[[], object], at: int) -> bool:
    """Run *call* and raise at its step number *at*; False if it has not so many."""
    before = sys.gettrace()
    sys.settrace(Interrupt(at))
    try:
        call()
    except LeftBySignalError:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("kind", ["list", "one", "single"])
def test_a_signal_at_any_step_leaves_nothing_exported_once_the_file_is_closed(
    scratch: Path, kind: str
) -> None:
    path, at, more = make(scratch / "file"), 0, True
    before = descriptors(), aio_contexts()
    while more:
        at += 1
        data = bytearray(32)
        with open_file(path, "r+", engine="threads", depth=2) as file:
            calls: dict[str, Callable[[], object]] = {
                "list": partial(file.write_batch, [0, 32], [data, data], durable="flush"),
                "one": partial(file.write_batch, [0, 16], data),
                "single": partial(file.pwrite, data, 0),
            }
            more = interrupted(calls[kind], at)
            assert file.pwrite(b"goes on", 0) == 7
        assert not is_exported(data)
    assert at > 50
    assert (descriptors(), aio_contexts()) == before


def test_a_signal_at_any_step_after_a_wait_frees_nothing_that_the_kernel_has(
    scratch: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_engine("io_uring")
    path, at, more = make(scratch / "file"), 0, True
    while more:
        at += 2
        data = bytearray(b"x" * BLOCK)
        with open_file(path, "r+", engine="io_uring", depth=1) as file:
            faults.restart()
            faults.rule(WRITE, HOLD)
            trace = Interrupt(at)
            ended = False

            def begin(trace: Interrupt = trace, file: File = file) -> None:
                """The first wait was in vain: from here on a signal may come."""
                monkeypatch.undo()
                if sys._getframe(2).f_code.co_name != "run_batch":
                    return
                sys.settrace(trace)
                sys._getframe(2).f_trace = trace
                sys._getframe(2).f_trace_opcodes = True
                faults.release()

            monkeypatch.setattr(_queue, "lib", Waits("fuaio_batch_run", begin))
            try:
                file.write_batch([0, BLOCK], [data, data], durable="flush")
                ended = True
            except LeftBySignalError:
                pass
            finally:
                sys.settrace(None)
                monkeypatch.undo()
            more = not ended
        assert not is_exported(data)
        assert path.read_bytes()[:BLOCK] == data
    assert at > 20


def test_a_batch_lets_python_look_for_signals_also_where_each_request_is_quick_to_end(
    scratch: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[bool] = []
    with opened(make(scratch / "file"), "threads") as file:
        faults.rule(WRITE, SLOW, 40, times=12)
        monkeypatch.setattr(_queue, "lib", Waits("fuaio_batch_run", lambda: waits.append(True)))
        assert file.write_batch(*batch(12), durable=None) == 12 * BLOCK
    assert len(waits) >= 2  # half a second in slices of a tenth or so


# ---- closed under way ----


def test_a_batch_that_is_closed_under_way_ends_what_it_began_and_is_refused_the_rest(
    scratch: Path, engine: str, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = make(scratch / "file"), descriptors()
    file = open_file(path, "r+", engine=engine, depth=3)
    faults.rule(WRITE, HOLD)
    with threads() as start:
        written = start(file.write_batch, *batch(12), durable=None)
        faults.wait_held()
        waits = threading.Event()
        monkeypatch.setattr(_queue, "lib", Waits("fuaio_queue_close", waits.set))
        closed = start(file.close)
        assert waits.wait(60)
        faults.release()
        error = written.exception()
        closed.result()
    assert descriptors() == before
    done = list(range(12))
    if error is not None:  # else all but the held one were done before
        assert isinstance(error, BatchError)
        assert error.errno == 0
        assert {type(one) for one in error.failures.values()} == {ClosedError}
        done = [number for number in done if number not in error.failures]
        assert "was closed meanwhile" in str(error) or "is closed" in str(error)
    assert len(done) >= 1
    assert has_blocks(path, done)
    assert sorted(write.offset for write in faults.seen(WRITE)) == [n * BLOCK for n in done]


@RING_ENGINES  # with threads the call itself is held
@DURABLE
def test_a_batch_between_two_waits_does_not_outlive_close(
    scratch: Path,
    engine: str,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    durable: Durable,
) -> None:
    count, made = 2000, list[int]()
    waited, closed = threading.Event(), threading.Event()

    def noted(*arguments: Any) -> Export:  # noqa: ANN401  # those of export
        pieces = export(*arguments)
        made.append(pieces.pieces_at)
        return pieces

    def between_waits() -> None:
        waited.set()
        closed.wait()

    file = open_file(make(scratch / "file"), "r+", engine=engine, depth=2)
    monkeypatch.setattr(_batch, "export", noted)
    monkeypatch.setattr(_queue, "lib", Waits("fuaio_batch_run", between_waits))
    faults.rule(WRITE, HOLD, times=2)
    with threads() as start:
        written = start(file.write_batch, [7] * count, bytes(count), durable=durable)
        assert waited.wait(60)
        faults.release()
        file.close()
        c = ffi.cast("struct fuaio_pieces *", made.pop())  # which nothing here keeps
        offsets = ffi.unpack(c.offsets, count)
        closed.set()
        error = written.exception()
    assert offsets == [7] * count
    assert isinstance(error, BatchError)
    assert len(error.failures) >= count - 2
    assert {type(one) for one in error.failures.values()} == {ClosedError}
    assert len(faults.seen(WRITE)) == 2


def test_closes_during_batches_of_several_threads_leave_each_write_done_or_refused(
    scratch: Path, engine: str
) -> None:
    for turn in range(20):
        path = make(scratch / "file", 64 * BLOCK)
        file = open_file(path, "r+", engine=engine, depth=4)
        began = threading.Barrier(5)

        def write(thread: int, file: File = file, began: threading.Barrier = began) -> list[int]:
            numbers = list(range(16 * thread, 16 * thread + 16))
            began.wait()
            try:
                file.write_batch(*batch(16, first=16 * thread), durable=None)
            except BatchError as error:
                if {type(one) for one in error.failures.values()} != {ClosedError}:
                    raise
                return [number for at, number in enumerate(numbers) if at not in error.failures]
            except ClosedError:
                return []
            return numbers

        with threads() as start:
            written: list[Any] = [start(write, thread) for thread in range(4)]
            began.wait()
            for _ in range(turn * 20):
                os.sched_yield()
            file.close()
            assert has_blocks(path, [number for one in written for number in one.result()])


# ---- memory ----


class Heap:
    """What malloc has given and not got back, in bytes."""

    class Info(ctypes.Structure):
        """Struct mallinfo2, malloc.h."""

        _fields_ = [
            (name, ctypes.c_size_t)
            for name in (
                *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
                *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
            )
        ]

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None)
        if not hasattr(self.libc, "mallinfo2"):
            pytest.skip("this C library has no mallinfo2")
        self.libc.mallinfo2.restype = self.Info
        self.libc.malloc.restype = ctypes.c_void_p
        self.libc.free.argtypes = [ctypes.c_void_p]
        before = self.used()
        probe = self.libc.malloc(50_000)
        grown = self.used() - before
        self.libc.free(probe)
        if grown < 50_000:
            pytest.skip("another allocator stands for malloc, and mallinfo2 does not tell of it")

    def used(self) -> int:
        """Bytes of all arenas' blocks and mapped ones."""
        info = self.libc.mallinfo2()
        return int(info.uordblks) + int(info.hblkhd)


def test_the_memory_of_a_batch_in_c_does_not_grow_with_its_count(
    scratch: Path, engine: str
) -> None:
    heap, grown = Heap(), []
    with opened(make(scratch / "file"), engine, depth=4) as file:
        for count in (16, 1_000_000):
            pieces = _batch.make_pieces(array("q", bytes(8 * count)), bytes(count), writable=False)
            c = ffi.cast("struct fuaio_pieces *", pieces.pieces_at)
            outcomes = ffi.cast("struct fuaio_outcome *", pieces.outcomes_at)
            made, wrong = ffi.new("struct fuaio_batch **"), ffi.new("uint64_t *")
            before = heap.used()
            arguments = (lib.FUAIO_WRITE, lib.FUAIO_PLAIN, c, outcomes, wrong)
            assert lib.fuaio_batch_new(made, file._queue._queue, *arguments) == 0
            grown.append(heap.used() - before)
            lib.fuaio_batch_free(made[0])
    assert max(grown) < 4096  # what Python allots meanwhile included


def test_many_batches_leave_no_memory_behind(scratch: Path, engine: str, faults: Faults) -> None:
    heap = Heap()
    data = block(1, 64 * 16)
    offsets = array("q", range(0, 64 * 16, 16))
    ways: tuple[Durable, ...] = ("fua", "flush", "auto", None)

    def rounds(count: int) -> int:
        for turn in range(count):
            file.write_batch(offsets, data, durable=ways[turn % 4])
            file.read_batch(offsets, data)
        faults.restart()
        gc.collect()
        return heap.used()

    with opened(make(scratch / "file"), engine, depth=8) as file:
        rounds(6)
        tracemalloc.start()
        try:
            rounds(6)
            before = rounds(6), tracemalloc.get_traced_memory()[0]
            after = rounds(90), tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    # A leak of one block for each batch would be 180 of them, of 16 bytes at least.
    assert after[0] - before[0] < 180 * 16
    assert after[1] - before[1] < 180 * 16


def test_a_batch_that_fails_keeps_no_more_than_its_failures(scratch: Path, engine: str) -> None:
    """A full disk fails each write of a long batch; when the error is gone, so is what it held."""
    count = 2000
    data = bytearray(count)
    with opened(make(scratch / "file"), engine) as file:
        offsets = array("q", [(1 << 62) + (1 << 61)] * count)  # more than a file can have
        with pytest.raises(BatchError) as caught:
            file.write_batch(offsets, data)
        assert len(caught.value.failures) == count
        assert {getattr(one, "errno", 0) for one in caught.value.failures.values()} <= {
            errno.EFBIG,
            errno.EINVAL,
        }
        assert not is_exported(data)
        assert_idle(file)


def test_a_forked_child_is_refused_though_it_forks_again_before_it_asks(
    scratch: Path, engine: str
) -> None:
    with opened(make(scratch / "file"), engine) as file:
        assert file.write_batch([0], [b"x"]) == 1
        first = os.fork()
        if first == 0:
            second = os.fork()
            refused = 0
            try:
                file.write_batch([0], [b"child"])
            except ClosedError:
                refused = 1
            if second == 0:
                os._exit(refused)
            _, status = os.waitpid(second, 0)
            os._exit(refused + os.waitstatus_to_exitcode(status))
        _, status = os.waitpid(first, 0)
        assert os.waitstatus_to_exitcode(status) == 2
        assert file.write_batch([0], [b"y"]) == 1
