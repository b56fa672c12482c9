"""A cancelled await leaves nothing behind, and what was promised durable is on the disk."""

from __future__ import annotations

import asyncio
import os
import random
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from async_files import Run, Slow, emulating, hold, in_flight, let_go, opened, turns, until
from core_files import BLOCK, block, make
from faults_table import FLUSH, HOLD, WRITE, Faults
from life_files import descriptors, is_exported
from promises import Promises, cancels

from fuaio.aio import AsyncFile, _open, _open_async, open_async


async def cancelled(task: asyncio.Task[int]) -> None:
    """Cancel *task* and see that it is."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ---- one request, at each moment ----


@pytest.mark.combination
def test_a_write_cancelled_in_flight_keeps_its_buffer_until_its_completion_is_seen(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    path, data = make(scratch / "file"), bytearray(block(7))

    async def main() -> None:
        async with opened(path, engine) as file:
            faults.rule(WRITE, HOLD)
            await cancelled(await hold(file, faults, file.pwrite(data, 0, fua=True)))
            await turns()
            assert is_exported(data)
            let_go(file, faults)
            await until(lambda: not is_exported(data))

    run(main())
    assert path.read_bytes()[:BLOCK] == data


@pytest.mark.combination
def test_a_write_cancelled_before_it_is_submitted_leaves_the_queue_in_order(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    data = bytearray(block(7))

    async def main() -> None:
        async with opened(make(scratch / "file"), engine, depth=1) as file:
            faults.rule(WRITE, HOLD)
            first = await hold(file, faults, file.pwrite(block(1), 0))
            queued = asyncio.ensure_future(file.pwrite(data, BLOCK))
            behind = asyncio.ensure_future(file.pwrite(block(3), 2 * BLOCK))
            await turns()
            await cancelled(queued)
            let_go(file, faults)
            assert list(await asyncio.gather(first, behind)) == [BLOCK] * 2
            await until(lambda: not is_exported(data))

    run(main())


@pytest.mark.combination
def test_a_cancel_after_the_completion_and_before_the_task_runs_is_still_a_cancel(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    path, data = make(scratch / "file"), bytearray(block(7))

    async def main() -> None:
        async with opened(path, engine) as file:
            faults.rule(WRITE, HOLD)
            task = await hold(file, faults, file.pwrite(data, 0, fua=True))
            let_go(file, faults)
            while file._waiting:  # the future is done, the task not woken: no turn between
                file._turn()
            assert not task.done()
            await cancelled(task)
            assert not is_exported(data)
            assert await file.pread(BLOCK, 0) == data

    run(main())


def test_a_write_that_waits_for_a_flush_may_be_cancelled_and_the_others_are_kept(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with emulating(make(scratch / "file"), engine, faults) as file:
            faults.rule(FLUSH, HOLD)
            first = await hold(file, faults, file.pwrite(block(1), 0, fua=True))
            second = asyncio.ensure_future(file.pwrite(block(2), BLOCK, fua=True))
            third = asyncio.ensure_future(file.pwrite(block(3), 2 * BLOCK, fua=True))
            await until(lambda: len(faults.seen(WRITE)) == 3 and in_flight(file) == 1)
            await cancelled(first)
            await cancelled(second)
            let_go(file, faults)
            assert await third == BLOCK
            assert len(faults.seen(FLUSH)) == 2

    run(main())


# ---- batches ----


@pytest.mark.parametrize("durable", ["fua", "flush", None])
def test_a_cancelled_batch_begins_no_more(
    scratch: Path, engine: str, faults: Faults, durable: str | None, run: Run
) -> None:
    data = bytearray(64 * BLOCK)

    async def main() -> None:
        async with opened(make(scratch / "file"), engine, depth=4, direct=False) as file:
            # Where FUA writes go one at a time, the others go plainly beside the first.
            faults.rule(WRITE, HOLD, times=-1)
            batch = file.write_batch(
                [n * BLOCK for n in range(64)],
                data,
                durable=durable,  # type: ignore[arg-type]  # from the parameters
            )
            task = await hold(file, faults, batch, count=4)
            await cancelled(task)
            await turns()
            assert is_exported(data)
            faults.forget_rules()
            let_go(file, faults)
            await until(lambda: not is_exported(data))
            assert len(faults.seen(WRITE)) == 4

    run(main())


def test_a_batch_cancelled_while_its_flush_is_in_flight_ends_before_the_flush(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    data = bytearray(8 * BLOCK)

    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            faults.rule(FLUSH, HOLD)
            batch = file.write_batch([n * BLOCK for n in range(8)], data, durable="flush")
            await cancelled(await hold(file, faults, batch))
            await until(lambda: not is_exported(data))
            assert in_flight(file) == 1
            let_go(file, faults)

    run(main())


def test_a_batch_whose_task_is_dropped_begins_no_more(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    data = bytearray(64 * BLOCK)

    async def main() -> None:
        async with opened(make(scratch / "file"), engine, depth=4) as file:
            faults.rule(WRITE, HOLD, times=-1)
            batch = file.write_batch([n * BLOCK for n in range(64)], data, durable=None)
            batch.send(None)
            batch.close()  # as the end of a loop does to what still waits
            await until(lambda: faults.are_held(4))
            faults.forget_rules()
            let_go(file, faults)
            await until(lambda: not is_exported(data))
            assert len(faults.seen(WRITE)) == 4

    run(main())


# ---- open_async ----


@pytest.mark.parametrize("step", ["open_any", "begin"])
@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_a_cancelled_opening_is_undone_before_the_cancel_is_seen(
    scratch: Path, engine: str, step: str, mode: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scratch / "new"
    slow = Slow(getattr(_open, step))
    monkeypatch.setattr(_open_async, step, slow)

    async def main() -> None:
        async def opening() -> None:
            await open_async(path, mode, engine=engine)

        before = {number for number, what in descriptors().items() if "new" in what}
        task = asyncio.ensure_future(opening())
        await until(slow.began.is_set)
        for _ in range(2):
            task.cancel()
            await turns()
            assert not task.done()  # the thread still uses the descriptor
        slow.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not path.exists()
        assert {number for number, what in descriptors().items() if "new" in what} == before

    run(main())


def test_a_cancelled_opening_that_empties_a_file_touches_no_other_file(
    scratch: Path, engine: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = make(scratch / "file"), make(scratch / "other")
    slow = Slow(_open.begin)
    monkeypatch.setattr(_open_async, "begin", slow)

    async def main() -> None:
        task = asyncio.ensure_future(open_async(path, "w+", engine=engine).__aenter__())
        await until(slow.began.is_set)
        task.cancel()
        await turns()
        # Were the descriptor closed by now, these would get its number.
        numbers = [os.open(other, os.O_RDWR) for _ in range(8)]
        slow.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        for number in numbers:
            os.close(number)

    run(main())
    assert other.stat().st_size == 64 * BLOCK
    assert path.exists()


class Quick(ThreadPoolExecutor):
    """Does its first piece of work before anybody waits: on Python 3.14 nobody does then."""

    _is_first = True

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:  # noqa: ANN401  # as its base
        work = super().submit(*arguments, **named)
        if self._is_first:
            self._is_first = False
            wait([work])
        return work


@pytest.mark.parametrize("executor", [ThreadPoolExecutor, Quick])
def test_an_opening_that_is_dropped_leaves_the_descriptor_to_its_thread(
    scratch: Path,
    executor: type[ThreadPoolExecutor],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = make(scratch / "file")
    slow = Slow(_open.begin)
    monkeypatch.setattr(_open_async, "begin", slow)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor())
        opening = open_async(path, "w+", engine="threads").__aenter__()
        waiter: asyncio.Future[None] = opening.send(None)
        await until(lambda: waiter.done() or slow.began.is_set())
        if not slow.began.is_set():  # else it has not waited for its first step
            opening.send(None)
            await until(slow.began.is_set)
        opening.close()  # as the end of a loop does to what still waits
        kept = [number for number, what in descriptors().items() if what == str(path)]
        slow.go.set()
        await loop.shutdown_default_executor()
        for number in kept:
            os.close(number)
        assert len(kept) == 1

    run(main())
    assert path.stat().st_size == 0


# ---- ten thousand ----


@pytest.mark.parametrize("how", ["fua-direct", "fua-buffered", "plain-buffered"])
def test_ten_thousand_awaits_cancelled_at_random_leave_what_was_promised(
    scratch: Path, engine: str, how: str, run_on_each: Run
) -> None:
    fua, random_ = "fua" in how, random.Random(42)
    count = cancels(engine, how) * 6 // 5
    promises = Promises(scratch / "file", count, direct="direct" in how)

    async def write(file: AsyncFile, number: int) -> None:
        offset = promises.offset(number)
        promises.keep(number, await file.pwrite(promises.piece(number), offset, fua=fua))

    async def cancel_some(tasks: list[asyncio.Task[None]]) -> None:
        for task in random_.sample(tasks, len(tasks) * 5 // 6):
            task.cancel()
            if random_.random() < 0.1:  # so that they come at all moments
                await turns(random_.randrange(3))

    async def main() -> None:
        async with open_async(
            promises.path, "r+", engine=engine, direct="direct" in how, depth=64
        ) as file:
            ends: list[BaseException | None] = []
            for first in range(0, count, count // 40):
                numbers = range(first, first + count // 40)
                tasks = [asyncio.ensure_future(write(file, number)) for number in numbers]
                await turns(random_.randrange(6))
                await cancel_some(tasks)
                ends += await asyncio.gather(*tasks, return_exceptions=True)
            assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
            assert {n for n, end in enumerate(ends) if end is None} == promises.kept
        assert file._queue.held == {}
        assert file._waiting == {}

    run_on_each(main())
    promises.check()
