"""A file that is closed, dropped, forked or outlived gives up what it holds, and not too early."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from async_files import Run, hold, in_child, in_flight, let_go, of_files, turns, until
from core_files import BLOCK, block, make
from faults_table import FLUSH, HOLD, WRITE, Faults
from life_files import descriptors, is_exported

from fuaio.aio import AsyncFile, ClosedError, _async_file, _queue, open_async

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def nothing_stays() -> object:
    """Every descriptor that was opened is closed at the end, and no queue is left over."""
    before = of_files()
    yield
    gc.collect()
    assert of_files() == before
    assert _queue._left_over == []
    assert _async_file._dropped == {}


pytestmark = pytest.mark.usefixtures("nothing_stays")


# ---- close ----


@pytest.mark.combination
def test_close_waits_for_what_is_in_flight_and_refuses_the_rest(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        file = await open_async(make(scratch / "file"), "r+", engine=engine)
        faults.rule(WRITE, HOLD)
        write = await hold(file, faults, file.pwrite(block(1), 0, fua=True))
        queued = asyncio.ensure_future(file.pwrite(block(2), BLOCK))
        await turns(1)
        closing = asyncio.ensure_future(file.close())
        again = asyncio.ensure_future(file.close())
        await turns()
        assert not closing.done()
        with pytest.raises(ClosedError):
            await file.pwrite(block(3), 0)
        let_go(file, faults)
        assert list(await asyncio.gather(write, queued)) == [BLOCK] * 2
        await asyncio.gather(closing, again)

    run(main())


@pytest.mark.combination
def test_a_cancelled_close_can_be_called_again(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        file = await open_async(make(scratch / "file"), "r+", engine=engine)
        faults.rule(WRITE, HOLD)
        write = await hold(file, faults, file.pwrite(block(1), 0, fua=True))
        other = asyncio.ensure_future(file.close())
        for _ in range(2):
            closing = asyncio.ensure_future(file.close())
            await turns()
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
        let_go(file, faults)
        await file.close()
        await other
        assert await write == BLOCK

    run(main())


def test_close_with_128_in_flight_waits_for_each(
    scratch: Path, engine: str, run_on_each: Run
) -> None:
    path = make(scratch / "file", 128 * BLOCK)

    async def main() -> None:
        file = await open_async(path, "r+", engine=engine, direct=True, depth=128)
        writes = [
            asyncio.ensure_future(file.pwrite(block(n), n * BLOCK, fua=True)) for n in range(128)
        ]
        await turns(1)
        for write in writes[::3]:
            write.cancel()
        await file.close()
        ends = await asyncio.gather(*writes, return_exceptions=True)
        assert all(end == BLOCK for end in (*ends[1::3], *ends[2::3]))
        assert file._queue.held == {}

    run_on_each(main())
    content = path.read_bytes()
    for number in range(128):
        if number % 3:
            assert content[number * BLOCK : (number + 1) * BLOCK] == block(number)


def test_close_gives_the_loop_turns_while_a_flush_that_nobody_waits_for_is_in_flight(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        file = await open_async(make(scratch / "file"), "r+", engine=engine)
        faults.rule(FLUSH, HOLD)
        batch = file.write_batch([0, BLOCK], bytes(2 * BLOCK), durable="flush")
        task = await hold(file, faults, batch)
        task.cancel()
        await until(lambda: not file._batches)
        closing = asyncio.ensure_future(file.close())
        await turns()  # a close that waits in C would be here for ever
        assert (closing.done(), in_flight(file)) == (False, 1)
        let_go(file, faults)
        await closing
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


# ---- dropped ----


async def drop(file_of: Callable[[], Awaitable[AsyncFile]]) -> None:
    """Make a file and forget it, with the warning that it was not closed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await file_of()
        gc.collect()
        for _ in range(3):  # what may still call it
            await turns()
            gc.collect()
    assert [str(each.message)[:8] for each in caught if each.category is ResourceWarning] == [
        "unclosed"
    ]


def test_a_file_that_is_dropped_idle_is_closed_at_once(
    scratch: Path, engine: str, run_on_each: Run
) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        before = of_files()

        async def file_of() -> AsyncFile:
            file = await open_async(path, "r+", engine=engine)
            await file.pwrite(block(1), 0, fua=True)
            return file

        await drop(file_of)
        assert of_files() == before

    run_on_each(main())


def test_a_file_that_is_dropped_in_flight_keeps_what_the_kernel_uses_and_is_closed_later(
    scratch: Path, engine: str, faults: Faults, run_on_each: Run
) -> None:
    path, data = make(scratch / "file"), bytearray(8 * BLOCK)

    async def main() -> None:
        before = of_files()
        event_fds = []

        async def file_of() -> AsyncFile:
            file = await open_async(path, "r+", engine=engine, depth=2)
            faults.rule(WRITE, HOLD, times=-1)
            write = file.write_batch([n * BLOCK for n in range(8)], data, durable=None)
            task = await hold(file, faults, write, count=2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            event_fds.append(file._queue.event_fd)
            return file

        await drop(file_of)
        assert is_exported(data)
        assert of_files() != before
        faults.release()
        os.eventfd_write(event_fds[0], 1)
        await until(lambda: of_files() == before)
        assert not is_exported(data)
        assert len(faults.seen(WRITE)) == 2

    run_on_each(main())


def test_a_file_that_another_thread_drops_is_closed_by_its_loop(
    scratch: Path, engine: str, run_on_each: Run
) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        before = of_files()
        boxes: list[AsyncFile] = []

        async def file_of() -> AsyncFile:
            boxes.append(await open_async(path, "r+", engine=engine))
            thread = threading.Thread(target=boxes.clear)
            thread.start()
            thread.join()
            return None  # type: ignore[return-value]  # it is gone

        await drop(file_of)
        assert of_files() == before

    run_on_each(main())


def test_a_loop_that_is_closed_with_a_write_in_flight_leaves_its_buffer_to_the_kernel(
    scratch: Path, engine: str, faults: Faults
) -> None:
    data = bytearray(block(1))
    loop = asyncio.new_event_loop()

    async def begin() -> AsyncFile:
        file = await open_async(make(scratch / "file"), "r+", engine=engine)
        faults.rule(WRITE, HOLD)
        task = await hold(file, faults, file.pwrite(data, 0, fua=True))
        task.cancel()
        return file

    file = loop.run_until_complete(begin())
    loop.run_until_complete(turns())
    loop.close()
    asyncio.run(file.close())  # in another loop: its own is gone
    assert file.closed
    assert is_exported(data)
    faults.release()
    _queue.close_left_over()
    if engine == "threads":  # its thread comes back in its own time
        while _queue._left_over:
            _queue.close_left_over()
    assert not is_exported(data)
    with pytest.raises(ClosedError):
        file.fileno()


# ---- other processes ----


@pytest.mark.combination
def test_a_forked_child_gets_an_error_and_closes_descriptors_alone(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    path = make(scratch / "file")

    def not_eventfds() -> list[str]:
        return [what for what in of_files() if "eventfd" not in what]

    async def main() -> None:
        before = not_eventfds()
        file = await open_async(path, "r+", engine=engine)
        faults.rule(WRITE, HOLD)
        write = await hold(file, faults, file.pwrite(block(1), 0, fua=True))

        async def use() -> None:
            for call in (file.pwrite(b"", 0), file.flush(), file.write_batch([0], b"x")):
                with pytest.raises(ClosedError, match="another process"):
                    await call

        def child() -> None:
            asyncio.run(use())
            asyncio.run(file.close())
            assert not_eventfds() == before
            assert file._queue.event_fd == -1

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, 3.12
            assert in_child(child) == 0
        let_go(file, faults)
        assert await write == BLOCK
        assert await file.pwrite(block(2), BLOCK, fua=True) == BLOCK
        await file.close()

    run(main())


def test_a_child_that_drops_the_file_closes_its_own_and_takes_no_wake_ups_of_the_parents(
    scratch: Path, engine: str, run_on_each: Run
) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        files = [await open_async(path, "r+", engine=engine, direct=True)]
        await turns()  # uvloop keeps for a while what it has called

        def child() -> None:
            warnings.simplefilter("ignore")
            files.clear()
            gc.collect()
            assert str(path) not in descriptors().values()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert in_child(child) == 0
        # More than one turn submits: for the rest the eventfd has to tell.
        for _ in range(20):
            done = await asyncio.gather(
                *(files[0].pwrite(block(n), n * BLOCK, fua=True) for n in range(40))
            )
            assert done == [BLOCK] * 40
        await files[0].close()

    run_on_each(main())


EXIT = """
import asyncio, os, sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from faults_table import Faults, HOLD, WRITE
from fuaio.aio import open_async
import atexit

class Watched(bytearray):
    def __del__(self):
        os.write(1, b"freed ")

engine, library, path, how = sys.argv[2:]
faults = Faults(Path(library))
faults.install()
data = Watched(b"x" * 4096)
keep = []

async def main():
    file = await open_async(path, "r+", engine=engine)
    keep.append(file)
    faults.rule(WRITE, HOLD)
    task = asyncio.ensure_future(file.pwrite(data, 0, fua=True))
    while not faults.are_held():
        await asyncio.sleep(0)
    if how == "cancelled":
        task.cancel()
    os.write(1, b"held ")

def release():
    os.write(1, b"released ")
    faults.release()

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
threading.Timer(0.3, release).start() if engine != "threads" else None
atexit.register(lambda: os.write(1, b"exit "))
if engine == "threads":
    release()
del data
"""


@pytest.mark.parametrize("how", ["cancelled", "awaited"])
def test_the_end_of_the_interpreter_waits_for_what_is_in_flight(
    scratch: Path, engine: str, faults_library: Path, how: str
) -> None:
    path = make(scratch / "file")
    done = subprocess.run(
        [sys.executable, "-c", EXIT, SUPPORT, engine, faults_library, path, how],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:2] == ["held", "released"]
    assert "freed" not in words[: words.index("released")]
    assert path.read_bytes()[:BLOCK] == b"x" * BLOCK


# ---- threads of the pool ----


def test_the_pools_threads_take_no_signals(scratch: Path, run: Run) -> None:
    def blocked() -> list[int]:
        masks = []
        for status in Path("/proc/self/task").glob("*/status"):
            line = next(x for x in status.read_text().splitlines() if x.startswith("SigBlk"))
            masks.append(int(line.split()[1], 16))
        return masks

    async def main() -> None:
        before = blocked()
        async with open_async(make(scratch / "file"), engine="threads", depth=4):
            new = sorted(blocked())
            for mask in before:
                new.remove(mask)
            every = sum(1 << (n - 1) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
            pool = [mask for mask in new if mask & every == every]
            assert len(pool) == 5  # and one more of the loop's executor, perhaps

    run(main())
