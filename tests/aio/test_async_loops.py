"""A file belongs to one loop and its thread; several files, loops and interruptions do no harm."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from async_files import Run, hold, let_go, opened, step, turns, until
from core_files import BLOCK, block, make
from faults_table import HOLD, SUBMIT, WRITE, Faults
from life_files import is_exported

from fuaio.aio import AsyncFile, open_async


def calls(file: AsyncFile, data: bytearray) -> list[Coroutine[Any, Any, object]]:
    """One of each call that a file takes."""
    return [
        file.pwrite(data, 0, fua=True),
        file.pread_into(data, 0),
        file.pread(1, 0),
        file.flush(),
        file.write_batch([0], data),
        file.read_batch([0], data),
        file.close(),
    ]


async def refused(file: AsyncFile, data: bytearray) -> None:
    for call in calls(file, data):
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await call
    assert not is_exported(data)


@pytest.mark.combination
def test_another_loop_gets_an_error_before_anything_is_submitted(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            asked = faults.asked(SUBMIT)
            with ThreadPoolExecutor(1) as pool:
                await asyncio.wrap_future(pool.submit(asyncio.run, refused(file, bytearray(8))))
            assert (faults.asked(SUBMIT), faults.seen()) == (asked, [])
            assert not file.closed
            assert await file.pwrite(block(1), 0, fua=True) == BLOCK

    run(main())


def test_a_thread_without_a_loop_gets_an_error(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:

            def use() -> None:
                for call in calls(file, bytearray(8)):
                    with pytest.raises(RuntimeError, match="belongs to another event loop"):
                        step(call)

            with ThreadPoolExecutor(1) as pool:
                await asyncio.wrap_future(pool.submit(use))
            assert faults.seen() == []

    run(main())


def test_its_loop_in_another_thread_gets_an_error(
    scratch: Path, engine: str, faults: Faults
) -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> AsyncFile:
        return await open_async(make(scratch / "file"), "r+", engine=engine)

    file = loop.run_until_complete(begin())
    with ThreadPoolExecutor(1) as pool:
        pool.submit(loop.run_until_complete, refused(file, bytearray(8))).result()
    assert faults.seen() == []
    loop.run_until_complete(file.close())
    loop.close()


def test_two_files_on_one_loop_are_served_beside_each_other(
    scratch: Path, engine: str, faults: Faults, run_on_each: Run
) -> None:
    paths = [make(scratch / "first"), make(scratch / "second")]

    async def main() -> None:
        async with opened(paths[0], engine) as first, opened(paths[1], engine) as second:
            faults.rule(WRITE, HOLD)
            held = await hold(first, faults, first.pwrite(block(1), 0, fua=True))
            done = await asyncio.gather(
                *(second.pwrite(block(n), n * BLOCK, fua=True) for n in range(40))
            )
            assert done == [BLOCK] * 40
            assert not held.done()
            let_go(first, faults)
            assert await held == BLOCK

    run_on_each(main())


def test_two_loops_in_two_threads_do_not_disturb_each_other(
    scratch: Path, engine: str, run_on_each: Run
) -> None:
    async def write(path: Path, first: int) -> None:
        async with opened(path, engine, depth=8) as file:
            for turn in range(10):
                numbers = range(turn * 6, turn * 6 + 6)
                await asyncio.gather(
                    *(file.pwrite(block(first + n), n * BLOCK, fua=True) for n in numbers)
                )
            await file.write_batch([60 * BLOCK], [block(first + 60)])

    paths = [make(scratch / str(number)) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run_on_each, write(p, n * 100)) for n, p in enumerate(paths)]:
            done.result()
    for number, path in enumerate(paths):
        content = path.read_bytes()
        for n in range(61):
            assert content[n * BLOCK : (n + 1) * BLOCK] == block(number * 100 + n)


# ---- interruptions ----


class Interrupted(dict[int, Any]):
    """A table of what waits, where Ctrl-C comes at the call number *at* of a method."""

    def __init__(self, table: dict[int, Any], at: int) -> None:
        super().__init__(table)
        self.left = at

    def count(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt


class InterruptedBefore(Interrupted):
    """An answer is about to be told."""

    def get(self, *arguments: Any) -> Any:  # noqa: ANN401  # as dict has it
        self.count()
        return super().get(*arguments)


class InterruptedAfter(Interrupted):
    """An answer was told, and its buffer is about to be let go."""

    def pop(self, *arguments: Any) -> Any:  # noqa: ANN401  # as dict has it
        self.count()
        return super().pop(*arguments)


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("is_told", [False, True])
def test_ctrl_c_while_answers_are_told_loses_none_of_them(
    scratch: Path, ring_engine: str, faults: Faults, at: int, is_told: bool
) -> None:
    async def begin() -> tuple[AsyncFile, list[asyncio.Task[int]]]:
        file = await open_async(make(scratch / "file"), "r+", engine=ring_engine)
        faults.rule(WRITE, HOLD, times=4)
        writes = [asyncio.ensure_future(file.pwrite(block(n), n * BLOCK)) for n in range(4)]
        await until(lambda: faults.are_held(4))
        return file, writes

    async def end(file: AsyncFile, writes: list[asyncio.Task[int]]) -> None:
        assert await asyncio.gather(*writes) == [BLOCK] * 4
        assert file._queue.held == {}
        await file.close()

    with asyncio.Runner() as runner:
        file, writes = runner.run(begin())
        table: Interrupted
        if is_told:
            table = file._held = file._queue.held = InterruptedAfter(file._held, at)
        else:
            table = file._waiting = InterruptedBefore(file._waiting, at)
        let_go(file, faults)
        with pytest.raises(KeyboardInterrupt):
            runner.run(asyncio.sleep(20))
        assert table.left == -1
        runner.run(end(file, writes))


class InterruptedInside(Interrupted):
    """What a batch used was let go, and it is about to be forgotten."""

    def __delitem__(self, tag: int) -> None:
        self.count()
        super().__delitem__(tag)


class InterruptedBehind(Interrupted):
    """An answer was told and is forgotten."""

    def __delitem__(self, tag: int) -> None:
        super().__delitem__(tag)
        self.count()


def test_ctrl_c_while_answers_are_told_keeps_nobody_who_asks_again_from_the_kernel(
    scratch: Path, ring_engine: str
) -> None:
    async def writes(file: AsyncFile, first: int, count: int) -> None:
        for number in range(first, first + count):
            assert await file.pwrite(block(number), number * BLOCK) == BLOCK

    async def begin() -> tuple[AsyncFile, list[asyncio.Task[None]]]:
        file = await open_async(make(scratch / "file"), "r+", engine=ring_engine)
        file._answered_several = True
        file._waiting = InterruptedBehind(file._waiting, 0)
        return file, [asyncio.ensure_future(writes(file, *one)) for one in ((0, 3), (3, 1))]

    async def end(file: AsyncFile, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        await file.close()

    with asyncio.Runner() as runner:
        file, tasks = runner.run(begin())
        with pytest.raises(KeyboardInterrupt):
            runner.run(asyncio.sleep(20))
        runner.run(end(file, tasks))


def test_a_planned_turn_that_ctrl_c_took_keeps_neither_writes_nor_close_waiting(
    scratch: Path, ring_engine: str, run: Run
) -> None:
    """As if it had come between the loop's look at its callbacks and the callback's first step."""

    async def main() -> None:
        file = await open_async(make(scratch / "file"), "r+", engine=ring_engine)
        for _ in range(3):
            file._answered_several = file._is_turn_planned = True
            writes = [file.pwrite(block(n), n * BLOCK) for n in range(8)]
            assert await asyncio.wait_for(asyncio.gather(*writes), 20) == [BLOCK] * 8
        left = [asyncio.ensure_future(file.pwrite(block(n), n * BLOCK)) for n in range(8)]
        await asyncio.sleep(0)
        file._is_turn_planned = True
        await asyncio.wait_for(file.close(), 20)
        await asyncio.gather(*left, return_exceptions=True)

    run(main())


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_ctrl_c_while_a_batch_is_told_ends_it_once(
    scratch: Path, ring_engine: str, faults: Faults, is_cancelled: bool
) -> None:
    data = bytearray(4 * BLOCK)

    async def begin() -> tuple[AsyncFile, asyncio.Task[int]]:
        file = await open_async(make(scratch / "file"), "r+", engine=ring_engine)
        faults.rule(WRITE, HOLD, times=4)
        offsets = [n * BLOCK for n in range(4)]
        write = asyncio.ensure_future(file.write_batch(offsets, data))
        await until(lambda: faults.are_held(4))
        return file, write

    async def end(file: AsyncFile, write: asyncio.Task[int]) -> None:
        if is_cancelled:
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
        else:
            assert await write == 4 * BLOCK
        await turns()
        assert not is_exported(data)
        assert (file._batches, file._waiting) == ({}, {})
        await file.close()

    with asyncio.Runner() as runner:
        file, write = runner.run(begin())
        file._batches = table = InterruptedInside(file._batches, 0)
        let_go(file, faults)
        with pytest.raises(KeyboardInterrupt):
            runner.run(asyncio.sleep(20))
        assert table.left == -1
        if is_cancelled:
            write.cancel()
        runner.run(end(file, write))


def test_ctrl_c_cancels_the_main_task_and_closes_its_file(
    scratch: Path, engine: str, faults: Faults
) -> None:
    data, files = bytearray(block(1)), []

    async def main() -> None:
        async with open_async(make(scratch / "file"), "r+", engine=engine) as file:
            files.append(file)
            faults.rule(WRITE, HOLD)
            loop = asyncio.get_running_loop()

            async def interrupt() -> None:
                await until(faults.are_held)
                signal.raise_signal(signal.SIGINT)
                await turns()
                let_go(file, faults)

            helper = loop.create_task(interrupt())
            try:
                await file.pwrite(data, 0, fua=True)
            finally:
                await helper

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert files[0]._queue.is_closed
    assert not is_exported(data)
