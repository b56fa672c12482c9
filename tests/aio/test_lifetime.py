"""What the kernel still uses is kept, whatever becomes of the file, the thread or the process.

Completions are withheld at the table of system calls: until they are released the kernel may,
as far as fuaio can know, still read and write the buffer.
"""

from __future__ import annotations

import copy
import fcntl
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from core_files import BLOCK, assert_idle, block, make
from faults_table import HOLD, WRITE, Faults
from life_files import (
    LeftBySignalError,
    Waits,
    aio_contexts,
    descriptors,
    is_exported,
    leave_held_write,
)
from needs import need_engine

from fuaio.aio import ClosedError, File, _queue, open_file

CHILD = Path(__file__).parents[1] / "support" / "life_child.py"


@pytest.fixture(params=["io_uring", "linux_aio"])
def ring_engine(request: pytest.FixtureRequest) -> str:
    """The engines whose requests go on without the thread that asked."""
    name = str(request.param)
    need_engine(name)
    return name


@pytest.fixture
def data() -> bytearray:
    """What is written; `is_exported` tells whether it is still held."""
    return bytearray(b"x" * BLOCK)


# ---- in this process ----


def test_a_write_left_by_a_signal_keeps_its_buffer_until_a_later_call_sees_its_end(
    scratch: Path, ring_engine: str, faults: Faults, data: bytearray
) -> None:
    path = make(scratch / "file")
    with open_file(path, "r+", engine=ring_engine) as file:
        leave_held_write(file, data, faults)
        assert is_exported(data)
        assert file.pread(1, BLOCK) == b"\0"
        assert is_exported(data)  # another request's end says nothing of this one
        faults.release()
        file.pread(1, BLOCK)
        file.pread(1, BLOCK)
        assert not is_exported(data)
        assert_idle(file)
    assert path.read_bytes()[:BLOCK] == data


def test_a_write_left_by_a_signal_keeps_its_slot(
    scratch: Path, ring_engine: str, faults: Faults, data: bytearray
) -> None:
    with (
        open_file(make(scratch / "file"), "r+", engine=ring_engine, depth=1) as file,
        ThreadPoolExecutor(1) as pool,
    ):
        leave_held_write(file, data, faults)
        second = pool.submit(file.pwrite, b"second", BLOCK)
        faults.release()
        assert second.result() == 6
    assert [write.offset for write in faults.seen(WRITE)] == [0, BLOCK]


def test_a_queued_write_left_by_a_signal_is_never_submitted_and_frees_its_buffer_at_once(
    scratch: Path,
    engine: str,
    faults: Faults,
    data: bytearray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leave() -> None:
        if threading.current_thread() is threading.main_thread():
            raise LeftBySignalError

    queued = bytearray(b"queued")
    with (
        open_file(make(scratch / "file"), "r+", engine=engine, depth=1) as file,
        ThreadPoolExecutor(1) as pool,
    ):
        faults.rule(WRITE, HOLD)
        first = pool.submit(file.pwrite, data, 0)
        faults.wait_held()
        # As if a handler raised after the first wait: signals are looked at there.
        monkeypatch.setattr(_queue, "lib", Waits("fuaio_request_run", leave))
        with pytest.raises(LeftBySignalError):
            file.pwrite(queued, BLOCK, fua=True)
        assert not is_exported(queued)
        assert is_exported(data)
        monkeypatch.undo()
        faults.release()
        assert first.result() == BLOCK
        assert_idle(file)
    assert [write.offset for write in faults.seen(WRITE)] == [0]


def test_a_dropped_file_keeps_buffer_and_descriptor_until_the_completion(
    scratch: Path, ring_engine: str, faults: Faults, data: bytearray
) -> None:
    path = make(scratch / "file")
    before = descriptors(), aio_contexts()
    file = open_file(path, "r+", engine=ring_engine)
    leave_held_write(file, data, faults)
    opened = descriptors(), aio_contexts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del file
        gc.collect()
    assert is_exported(data)
    assert (descriptors(), aio_contexts()) == opened
    open_file(path).close()  # looks for what was left over, and it is not done
    assert is_exported(data)
    faults.release()
    open_file(path).close()
    assert not is_exported(data)
    assert (descriptors(), aio_contexts()) == before


def test_a_file_dropped_during_a_write_lives_until_the_write_returns(
    scratch: Path, engine: str, faults: Faults, data: bytearray
) -> None:
    before = descriptors()
    files = [open_file(make(scratch / "file"), "r+", engine=engine)]
    faults.rule(WRITE, HOLD)
    results: list[int] = []

    def write() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            results.append(files.pop().pwrite(data, 0, fua=True))

    writer = threading.Thread(target=write)
    writer.start()
    faults.wait_held()
    gc.collect()
    assert (files, is_exported(data)) == ([], True)
    faults.release()
    writer.join()
    assert (results, is_exported(data)) == ([BLOCK], False)
    assert descriptors() == before


def close_elsewhere(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> tuple[threading.Thread, list[str]]:
    """Start to close *file* in another thread; return once that has waited in vain."""
    waits, order = threading.Event(), list[str]()

    def close() -> None:
        file.close()
        order.append("closed")

    monkeypatch.setattr(_queue, "lib", Waits("fuaio_queue_close", waits.set))
    closer = threading.Thread(target=close)
    closer.start()
    assert waits.wait(60)
    return closer, order


def test_close_waits_for_a_write_in_flight_which_then_succeeds(
    scratch: Path,
    engine: str,
    faults: Faults,
    data: bytearray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = make(scratch / "file")
    before = descriptors()
    file = open_file(path, "r+", engine=engine)
    faults.rule(WRITE, HOLD)
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(file.pwrite, data, 0, fua=True)
        faults.wait_held()
        closer, order = close_elsewhere(file, monkeypatch)
        assert is_exported(data)
        with pytest.raises(ClosedError):
            file.pwrite(b"late", BLOCK)
        order.append("released")
        faults.release()
        assert write.result() == BLOCK
        closer.join()
    assert order == ["released", "closed"]
    assert not is_exported(data)
    assert descriptors() == before
    assert path.read_bytes()[: BLOCK + 4] == bytes(data) + bytes(4)


def test_close_waits_for_a_write_that_was_left_by_a_signal(
    scratch: Path,
    ring_engine: str,
    faults: Faults,
    data: bytearray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = descriptors(), aio_contexts()
    file = open_file(make(scratch / "file"), "r+", engine=ring_engine)
    leave_held_write(file, data, faults)
    closer, order = close_elsewhere(file, monkeypatch)
    assert is_exported(data)
    order.append("released")
    faults.release()
    closer.join()
    assert order == ["released", "closed"]
    assert not is_exported(data)
    assert (descriptors(), aio_contexts()) == before


def test_a_write_between_two_waits_does_not_outlive_close(
    scratch: Path,
    engine: str,
    faults: Faults,
    data: bytearray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited, closed = threading.Event(), threading.Event()

    def between_waits() -> None:
        if threading.current_thread() is second:
            waited.set()
            closed.wait()

    answers: list[object] = []

    def write() -> None:
        try:
            answers.append(file.pwrite(b"late", BLOCK))
        except ClosedError as error:
            answers.append(type(error))

    path = make(scratch / "file")
    file = open_file(path, "r+", engine=engine, depth=1)
    number = file.fileno()
    monkeypatch.setattr(_queue, "lib", Waits("fuaio_request_run", between_waits))
    faults.rule(WRITE, HOLD)
    second = threading.Thread(target=write)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(file.pwrite, data, 0)
        faults.wait_held()
        second.start()
        assert waited.wait(60)
        faults.release()
        assert first.result() == BLOCK
    file.close()
    other = os.open(scratch / "other", os.O_RDWR | os.O_CREAT)
    try:
        assert other == number  # what would be written to by mistake
        closed.set()
        second.join()
        assert os.fstat(other).st_size == 0
    finally:
        os.close(other)
    written = path.read_bytes()[BLOCK : BLOCK + 4]
    assert (answers, written) in [([4], b"late"), ([ClosedError], bytes(4))]


def test_each_of_the_writes_during_a_close_is_done_or_refused(scratch: Path, engine: str) -> None:
    path = make(scratch / "file", 0)
    file = open_file(path, "r+", engine=engine, depth=4)
    began = threading.Barrier(9)

    def write(thread: int) -> int:
        began.wait()
        for turn in range(1000):
            offset = (turn * 8 + thread) * 16
            try:
                assert file.pwrite(b"%3d %11d" % (thread, turn), offset, fua=turn % 4 == 0) == 15
            except ClosedError:
                return turn
            if turn == 2:
                began.wait()
        return 1000

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, thread) for thread in range(8)]
        began.wait()
        began.wait()
        file.close()
        done = [writer.result() for writer in writers]
    assert min(done) >= 3
    content = path.read_bytes()
    for thread, count in enumerate(done):
        for turn in range(count):
            offset = (turn * 8 + thread) * 16
            assert content[offset : offset + 15] == b"%3d %11d" % (thread, turn)


def test_close_twice_and_by_several_threads_closes_once(scratch: Path, engine: str) -> None:
    before = descriptors(), aio_contexts()
    file = open_file(make(scratch / "file"), engine=engine)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: file.close(), range(8))) == [None] * 8
    file.close()
    assert (descriptors(), aio_contexts()) == before


def test_two_closes_that_wait_for_the_same_write_close_once(
    scratch: Path,
    engine: str,
    faults: Faults,
    data: bytearray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = descriptors(), aio_contexts()
    file = open_file(make(scratch / "file"), "r+", engine=engine)
    faults.rule(WRITE, HOLD)
    with ThreadPoolExecutor(3) as pool:
        write = pool.submit(file.pwrite, data, 0, fua=True)
        faults.wait_held()
        both_wait = threading.Barrier(3)
        waited = threading.local()

        def meet() -> None:
            if not hasattr(waited, "once"):
                waited.once = True
                both_wait.wait()

        monkeypatch.setattr(_queue, "lib", Waits("fuaio_queue_close", meet))
        closes = [pool.submit(file.close) for _ in range(2)]
        both_wait.wait()
        faults.release()
        assert write.result() == BLOCK
        assert [close.result() for close in closes] == [None, None]
    assert (descriptors(), aio_contexts()) == before


def test_a_buffer_is_released_once_though_the_file_is_closed_before_its_call_returns(
    scratch: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the GIL, releasing it in two threads at once would corrupt its count."""
    file = open_file(make(scratch / "file"), "r+", engine=engine)
    released: list[object] = []
    let_go = _queue.Queue._let_go

    def closed_by_another_thread(queue: _queue.Queue, call: _queue.Call) -> None:
        file.close()
        let_go(queue, call)

    monkeypatch.setattr(_queue, "release", released.extend)
    monkeypatch.setattr(_queue.Queue, "_let_go", closed_by_another_thread)
    assert file.pwritev([b"x" * BLOCK], 0) == BLOCK
    assert len(released) == 1


def test_a_left_over_queue_that_another_thread_closes_first_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class ClosedMeanwhile:
        def close(self, wait_ms: int) -> bool:
            if self in left_over:
                left_over.remove(self)
            return wait_ms == 0

    left_over = [ClosedMeanwhile(), ClosedMeanwhile()]
    monkeypatch.setattr(_queue, "_left_over", left_over)
    _queue.close_left_over()
    assert left_over == []


def test_every_descriptor_is_closed_on_exec(scratch: Path, engine: str) -> None:
    before = descriptors()
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        file.pwrite(b"x", 0, fua=True)
        ours = descriptors().keys() - before.keys()
        assert file.fileno() in ours
        assert {fcntl.fcntl(number, fcntl.F_GETFD) for number in ours} == {fcntl.FD_CLOEXEC}


def test_two_hundred_files_leave_no_descriptor_and_no_context(scratch: Path, engine: str) -> None:
    path = make(scratch / "file")
    open_file(path, engine=engine).close()
    before = descriptors(), aio_contexts()
    for turn in range(200):
        with open_file(path, "r+", engine=engine, direct=turn % 2 == 0, depth=2) as file:
            file.pwrite(block(turn), 0, fua=turn % 5 == 0)
    assert (descriptors(), aio_contexts()) == before


@pytest.mark.combination
def test_no_request_is_left_after_any_way_to_end(
    scratch: Path, engine: str, data: bytearray
) -> None:
    with open_file(make(scratch / "file"), "r", engine=engine) as file:
        ends: list[Callable[[], object]] = [
            lambda: file.pread_into(data, 0),
            lambda: file.pread_into(data, 1 << 40),
            lambda: file.pwrite(data, 0, fua=True),
            lambda: file.pwrite(data, 1 << 63),
            lambda: file.pwritev([data, 5], 0),  # type: ignore[list-item] # refused
            lambda: file.flush(),
        ]
        for way in ends:
            with suppress(OSError, OverflowError, TypeError):
                way()
            assert_idle(file)
            assert not is_exported(data)


# ---- in a child, which ends or is forked or interrupted ----


@pytest.fixture
def play(
    faults_library: Path, scratch: Path, engine: str
) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Call it to start a scenario of life_child.py; it is taken away at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(scenario: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, CHILD, scenario, engine, faults_library, make(scratch / "file")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        with child:
            child.kill()


GOES_ON = ["parent goes on", "freed"]
Play = Callable[[str], subprocess.Popen[str]]


def seen(child: subprocess.Popen[str]) -> list[str]:
    """What the child said until its end, which was a good one."""
    said, complaint = child.communicate(timeout=100)
    assert (child.returncode, complaint) == (0, "")
    return said.splitlines()


def seen_after(child: subprocess.Popen[str], word: str) -> list[str]:
    """What the child says once it was told *word*."""
    assert child.stdin is not None
    child.stdin.write(word)
    child.stdin.flush()
    return seen(child)


def test_ctrl_c_during_a_write_keeps_its_buffer_until_the_completion(
    play: Play, engine: str
) -> None:
    child = play("interrupt")
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "held\n"
    child.send_signal(signal.SIGINT)
    if engine == "threads":  # the system call of its own thread has to return first
        assert seen_after(child, "release\n") == ["interrupted", "ready", "free", *GOES_ON]
        return
    said = [child.stdout.readline() for _ in range(3)]
    assert said == ["interrupted\n", "exported\n", "ready\n"]
    assert seen_after(child, "release\n") == ["free", *GOES_ON]


@pytest.mark.parametrize("scenario", ["end released", "end released dropped"])
def test_the_end_of_the_interpreter_waits_for_a_completion(play: Play, scenario: str) -> None:
    said = seen(play(scenario))
    assert said[:2] == ["the end waits", "free"]


@pytest.mark.parametrize("scenario", ["end never", "end never dropped"])
def test_the_end_of_the_interpreter_waits_no_longer_than_it_says_and_frees_nothing_early(
    play: Play, scenario: str
) -> None:
    assert seen(play(scenario)) == ["exported"]


@pytest.mark.parametrize("scenario", ["fork", "fork clean", "multiprocessing fork"])
def test_a_forked_child_is_refused_everything_but_close_and_the_parent_goes_on(
    play: Play, scenario: str
) -> None:
    said = seen(play(scenario))
    assert [word for word in said if word != "freed"] == [
        "child closed",
        "child ended 0",
        "exported",
        "free",
        "parent goes on",
    ]


@pytest.mark.parametrize("scenario", ["fork and forget", "subprocess"])
def test_a_child_that_knows_nothing_of_the_file_changes_nothing(play: Play, scenario: str) -> None:
    said = seen(play(scenario))
    assert [word for word in said if word != "freed"] == [
        "child ended 0",
        "exported",
        "free",
        "parent goes on",
    ]


def test_a_child_that_is_started_anew_changes_nothing(play: Play) -> None:
    said = seen(play("multiprocessing spawn"))
    assert [word for word in said if word != "freed"] == [
        "child started",
        "child ended 0",
        "exported",
        "free",
        "parent goes on",
    ]


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_file_is_neither_copied_nor_pickled(
    scratch: Path, engine: str, take: Callable[[object], object]
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        with pytest.raises(TypeError, match=r"cannot copy or pickle .* open .* again"):
            take(file)
        gc.collect()
        assert file.pwrite(b"x", 0) == 1
