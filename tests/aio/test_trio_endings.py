"""In trio too, what is closed, dropped, forked or outlived gives up all it holds, not too early."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

try:
    import trio
except ModuleNotFoundError:
    pytest.skip("trio is not installed", allow_module_level=True)

from async_files import Slow, in_child, in_flight, let_go, of_files, step
from core_files import BLOCK, block, make
from faults_table import FLUSH, HOLD, SUBMIT, WRITE, Faults
from life_files import descriptors, is_exported
from trio_files import begin, calls, hold, opened, turns, until

from fuaio.aio import AsyncFile, ClosedError, _async_file, _open, _open_async, _queue, open_async


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Every descriptor that was opened is closed at the end, and no queue is left over."""
    before = of_files()
    yield
    gc.collect()
    assert of_files() == before
    assert _queue._left_over == []
    assert _async_file._dropped == {}


# ---- close ----


@pytest.mark.combination
def test_close_waits_for_what_is_in_flight_and_refuses_the_rest(
    scratch: Path, engine: str, faults: Faults
) -> None:
    async def main() -> None:
        file = await open_async(make(scratch / "file"), "r+", engine=engine)
        faults.rule(WRITE, HOLD, times=2)
        async with trio.open_nursery() as nursery:
            write = await hold(nursery, faults, lambda: file.pwrite(block(1), 0, fua=True))
            plain = await hold(nursery, faults, lambda: file.pwrite(block(2), BLOCK), count=2)
            closings = [begin(nursery, file.close) for _ in range(2)]
            await turns()
            assert not any(closing.is_done for closing in closings)
            with pytest.raises(ClosedError):
                await file.pwrite(block(3), 0)
            let_go(file, faults)
        assert (write.result, plain.result) == (BLOCK, BLOCK)
        assert file._queue.is_closed

    trio.run(main)


@pytest.mark.combination
def test_a_file_in_a_cancelled_scope_is_closed_to_the_end_before_the_cancel_is_seen(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path, data, files = make(scratch / "file"), bytearray(block(7)), []

    async def use() -> None:
        async with open_async(path, "r+", engine=engine) as file:
            files.append(file)
            await file.pwrite(data, 0, fua=True)

    async def main() -> None:
        faults.rule(WRITE, HOLD)
        async with trio.open_nursery() as nursery:
            using = await hold(nursery, faults, use)
            using.scope.cancel()
            await turns()
            assert not using.is_done
            let_go(files[0], faults)
        assert using.was_cancelled
        assert files[0]._queue.is_closed

    trio.run(main)
    assert path.read_bytes()[:BLOCK] == data


def test_close_with_128_in_flight_waits_for_each(scratch: Path, engine: str) -> None:
    path = make(scratch / "file", 128 * BLOCK)

    begun: list[int] = []

    async def write(file: AsyncFile, number: int) -> None:
        begun.append(number)
        assert await file.pwrite(block(number), number * BLOCK, fua=True) == BLOCK

    async def main() -> None:
        file = await open_async(path, "r+", engine=engine, direct=True, depth=128)
        async with trio.open_nursery() as nursery:
            for number in range(128):
                nursery.start_soon(write, file, number)
            await until(lambda: len(begun) == 128)
            await file.close()
        assert file._queue.held == {}

    trio.run(main)
    content = path.read_bytes()
    for number in range(128):
        assert content[number * BLOCK : (number + 1) * BLOCK] == block(number)


def test_close_gives_the_others_turns_while_a_flush_that_nobody_waits_for_is_in_flight(
    scratch: Path, engine: str, faults: Faults
) -> None:
    async def main() -> None:
        file = await open_async(make(scratch / "file"), "r+", engine=engine)
        faults.rule(FLUSH, HOLD)
        async with trio.open_nursery() as nursery:
            batch = await hold(
                nursery,
                faults,
                lambda: file.write_batch([0, BLOCK], bytes(2 * BLOCK), durable="flush"),
            )
            batch.scope.cancel()
            await until(lambda: not file._batches)
            closing = begin(nursery, file.close)
            await turns()  # a close that waits in C would be here for ever
            assert (closing.is_done, in_flight(file)) == (False, 1)
            let_go(file, faults)

    trio.run(main)


# ---- opening ----


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_an_opening_that_is_cancelled_before_its_last_step_is_undone(
    scratch: Path, engine: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, slow = scratch / "new", Slow(_open.open_any)
    monkeypatch.setattr(_open_async, "open_any", slow)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            opening = begin(nursery, open_async(path, mode, engine=engine).__aenter__)
            await until(slow.began.is_set)
            opening.scope.cancel()
            await turns()
            assert not opening.is_done  # the thread still uses the descriptor
            slow.go.set()
        assert opening.was_cancelled

    trio.run(main)
    assert not path.exists()
    assert str(path) not in descriptors().values()


def test_an_opening_that_is_cancelled_in_its_last_step_gives_a_file(
    scratch: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, slow, files = scratch / "file", Slow(_open.begin), []
    monkeypatch.setattr(_open_async, "begin", slow)

    async def use() -> None:
        async with open_async(path, "w+", engine=engine) as file:
            files.append(file)
            await file.pwrite(b"never", 0)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            using = begin(nursery, use)
            await until(slow.began.is_set)
            using.scope.cancel()
            slow.go.set()
        assert using.was_cancelled
        assert files[0]._queue.is_closed

    trio.run(main)
    assert path.read_bytes() == b""


# ---- dropped, and outlived ----


async def dropped(box: list[AsyncFile], drop: Callable[[], object]) -> None:
    """Forget the file that is in *box*, with the warning that it was not closed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drop()
        gc.collect()
        await turns()
    assert box == []
    assert [str(each.message)[:8] for each in caught if each.category is ResourceWarning] == [
        "unclosed"
    ]


@pytest.mark.parametrize("use", [False, True], ids=["at once", "used"])
def test_a_file_that_is_dropped_idle_is_closed_by_its_run(
    scratch: Path, engine: str, use: bool
) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        before = of_files()
        for _ in range(20):  # in which order tasks run is up to chance
            box = [await open_async(path, "r+", engine=engine)]
            if use:
                await box[0].pwrite(block(1), 0, fua=True)
            await dropped(box, box.clear)
            await until(lambda: of_files() == before)

    trio.run(main)


def test_a_file_that_another_thread_drops_is_closed_by_its_run(scratch: Path, engine: str) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        before, box = of_files(), [await open_async(path, "r+", engine=engine)]

        def drop() -> None:
            thread = threading.Thread(target=box.clear)
            thread.start()
            thread.join()

        await dropped(box, drop)
        await until(lambda: of_files() == before)

    trio.run(main)


def test_a_file_that_is_dropped_in_flight_keeps_what_the_kernel_uses_and_is_closed_later(
    scratch: Path, engine: str, faults: Faults
) -> None:
    data = bytearray(8 * BLOCK)

    async def main() -> None:
        before = of_files()
        box = [await open_async(make(scratch / "file"), "r+", engine=engine, depth=2)]
        event_fd = box[0]._queue.event_fd
        faults.rule(WRITE, HOLD, times=-1)
        async with trio.open_nursery() as nursery:
            write = await hold(
                nursery,
                faults,
                lambda: box[0].write_batch([n * BLOCK for n in range(8)], data, durable=None),
                count=2,
            )
            write.scope.cancel()
        await dropped(box, box.clear)
        assert is_exported(data)
        assert of_files() != before
        faults.release()
        os.eventfd_write(event_fd, 1)
        await until(lambda: of_files() == before)
        assert not is_exported(data)
        assert len(faults.seen(WRITE)) == 2

    trio.run(main)


@pytest.mark.parametrize("drop", [False, True], ids=["kept", "dropped"])
def test_a_run_that_ends_with_a_write_in_flight_leaves_its_buffer_to_the_kernel(
    scratch: Path, engine: str, faults: Faults, drop: bool
) -> None:
    data, files = bytearray(block(1)), []

    async def main() -> None:
        files.append(await open_async(make(scratch / "file"), "r+", engine=engine))
        faults.rule(WRITE, HOLD)
        async with trio.open_nursery() as nursery:
            write = await hold(nursery, faults, lambda: files[0].pwrite(data, 0, fua=True))
            write.scope.cancel()

    trio.run(main)
    if drop:
        with pytest.warns(ResourceWarning, match="unclosed"):
            files.clear()
    else:
        trio.run(files[0].close)  # in another run: its own is gone
        assert files[0].closed
    assert is_exported(data)
    faults.release()
    _queue.close_left_over()
    while engine == "threads" and _queue._left_over:  # its thread comes back in its own time
        _queue.close_left_over()
    assert not is_exported(data)


# ---- whose it is ----


async def refused(file: AsyncFile, data: bytearray) -> None:
    for call in [*calls(file, data).values(), file.close]:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await call()
    assert not is_exported(data)


def test_another_run_gets_an_error_before_anything_is_submitted(
    scratch: Path, engine: str, faults: Faults
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            asked = faults.asked(SUBMIT)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(trio.run, refused, file, bytearray(8)).result()
                pool.submit(asyncio.run, refused(file, bytearray(8))).result()
            assert (faults.asked(SUBMIT), faults.seen()) == (asked, [])
            assert not file.closed
            assert await file.pwrite(block(1), 0, fua=True) == BLOCK

    trio.run(main)


def test_a_thread_without_a_run_gets_an_error(scratch: Path, engine: str, faults: Faults) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:

            def use() -> None:
                for call in calls(file, bytearray(8)).values():
                    with pytest.raises(RuntimeError, match="belongs to another event loop"):
                        step(call())  # type: ignore[arg-type]  # each is a coroutine

            await trio.to_thread.run_sync(use)
            assert faults.seen() == []

    trio.run(main)


def test_a_run_gets_an_error_for_a_file_of_asyncios(
    scratch: Path, engine: str, faults: Faults
) -> None:
    async def main() -> None:
        async with open_async(make(scratch / "file"), "r+", engine=engine) as file:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(trio.run, refused, file, bytearray(8)).result()
            assert faults.seen() == []

    asyncio.run(main())


def test_two_runs_in_two_threads_do_not_disturb_each_other(scratch: Path, engine: str) -> None:
    async def write(path: Path, first: int) -> None:
        async with opened(path, engine, depth=8) as file:
            for number in range(60):
                assert await file.pwrite(block(first + number), number * BLOCK, fua=True) == BLOCK

    paths = [make(scratch / str(number)) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(trio.run, write, p, n * 100) for n, p in enumerate(paths)]:
            done.result()
    for number, path in enumerate(paths):
        content = path.read_bytes()
        for n in range(60):
            assert content[n * BLOCK : (n + 1) * BLOCK] == block(number * 100 + n)


@pytest.mark.combination
def test_a_forked_child_gets_an_error_and_closes_descriptors_alone(
    scratch: Path, engine: str, faults: Faults
) -> None:
    async def main() -> None:
        file = await open_async(make(scratch / "file"), "r+", engine=engine)
        faults.rule(WRITE, HOLD)

        def child() -> None:
            for call in (file.pwrite(b"x", 0), file.flush(), file.write_batch([0], b"x")):
                with pytest.raises(ClosedError, match="another process"):
                    step(call)
            assert step(file.close()) == (True, None)
            assert [what for what in of_files() if "eventfd" not in what] == []
            assert file._queue.event_fd == -1

        async with trio.open_nursery() as nursery:
            write = await hold(nursery, faults, lambda: file.pwrite(block(1), 0, fua=True))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, 3.12
                assert in_child(child) == 0
            let_go(file, faults)
        assert write.result == BLOCK
        assert await file.pwrite(block(2), BLOCK, fua=True) == BLOCK
        await file.close()

    trio.run(main)


# ---- imports ----


@pytest.mark.parametrize(("runner", "other"), [("asyncio", "trio"), ("trio", "asyncio")])
def test_who_runs_in_one_kind_of_loop_does_not_import_the_other(
    scratch: Path, runner: str, other: str
) -> None:
    program = (
        f"import sys, {runner}\n"
        "from fuaio.aio import open_async\n"
        "async def main():\n"
        "    async with open_async(sys.argv[1], 'r+') as file:\n"
        "        print(await file.pwrite(b'x', 0, fua=True))\n"
        f"{runner}.run(main{'()' if runner == 'asyncio' else ''})\n"
        f"print({other!r} in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, make(scratch / "file")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "False"]
