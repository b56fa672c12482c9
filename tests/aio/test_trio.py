"""In a run of trio an `AsyncFile` does the same, and each of its calls is a checkpoint."""

from __future__ import annotations

import errno
import random
import signal
from functools import partial
from pathlib import Path

import pytest

try:
    import trio
    import trio.testing
except ModuleNotFoundError:
    pytest.skip("trio is not installed", allow_module_level=True)

from async_files import let_go
from core_files import BLOCK, block, make
from faults_table import ANSWER, HOLD, WRITE, Faults
from life_files import is_exported
from promises import Promises, cancels
from trio_files import begin, calls, hold, opened, turns, until

from fuaio.aio import AsyncFile, BatchError, open_async

# ---- the same ----


@pytest.mark.combination
@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_what_was_written_is_read_again(scratch: Path, engine: str, direct: bool) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        async with opened(path, engine, direct=direct, depth=4) as file:

            async def write(number: int) -> None:
                fua = number % 2 == 0
                assert await file.pwrite(block(number), number * BLOCK, fua=fua) == BLOCK

            async with trio.open_nursery() as nursery:
                for number in range(16):
                    nursery.start_soon(write, number)
            await file.flush()
            await file.flush(metadata=True)
            for number in range(16):
                assert await file.pread(BLOCK, number * BLOCK) == block(number)

    trio.run(main)
    assert path.read_bytes()[: 16 * BLOCK] == b"".join(block(n) for n in range(16))


@pytest.mark.parametrize("durable", ["fua", "flush", None])
def test_a_batch_is_written_whole_and_read_again(
    scratch: Path, engine: str, durable: str | None
) -> None:
    offsets = [n * BLOCK for n in reversed(range(40))]
    data = [block(n) for n in range(40)]

    async def main() -> None:
        async with opened(make(scratch / "file"), engine, depth=4) as file:
            done = await file.write_batch(offsets, data, durable=durable)  # type: ignore[arg-type]  # from the parameters
            assert done == 40 * BLOCK
            again = bytearray(41 * BLOCK)
            assert await file.read_batch([*offsets, 64 * BLOCK], again) == [BLOCK] * 40 + [0]
            assert again[: 40 * BLOCK] == b"".join(data)

    trio.run(main)


def test_an_error_is_the_kernels_and_the_next_request_is_not_its_victim(
    scratch: Path, engine: str, faults: Faults
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            faults.rule(WRITE, ANSWER, -errno.ENOSPC, times=2)
            with pytest.raises(OSError) as failed:
                await file.pwrite(block(1), 0)
            assert failed.value.errno == errno.ENOSPC
            with pytest.raises(BatchError) as batch:
                await file.write_batch([0], block(1))
            assert sorted(batch.value.failures) == [0]
            assert await file.pwrite(block(1), 0) == BLOCK

    trio.run(main)


def test_two_files_in_one_run_are_served_beside_each_other(
    scratch: Path, engine: str, faults: Faults
) -> None:
    paths = [make(scratch / "first"), make(scratch / "second")]

    async def main() -> None:
        async with opened(paths[0], engine) as first, opened(paths[1], engine) as second:
            assert first._loop is second._loop
            faults.rule(WRITE, HOLD)
            async with trio.open_nursery() as nursery:
                held = await hold(nursery, faults, lambda: first.pwrite(block(1), 0, fua=True))
                for number in range(40):
                    assert await second.pwrite(block(number), number * BLOCK, fua=True) == BLOCK
                assert not held.is_done
                let_go(first, faults)
            assert held.result == BLOCK

    trio.run(main)


def test_a_heart_beats_beside_a_busy_writer(scratch: Path, engine: str) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:

            async def busy() -> None:
                for _ in range(320):
                    await file.pread_into(bytearray(8), 0)
                await file.read_batch(range(2048), bytearray(2048))

            async with trio.open_nursery() as nursery:
                writing, beats = begin(nursery, busy), 0
                while not writing.is_done:
                    beats += 1
                    await trio.lowlevel.checkpoint()
            assert beats >= 320

    trio.run(main)


# ---- checkpoints and cancels ----


@pytest.mark.combination
def test_each_call_is_a_checkpoint_whether_it_has_to_wait_or_not(
    scratch: Path, engine: str
) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        with trio.testing.assert_checkpoints():
            file = await open_async(path, "r+", engine=engine)
        for name, call in calls(file, bytearray(8)).items():
            for _ in range(3):  # the kernel is done within the call, or later
                try:
                    with trio.testing.assert_checkpoints():
                        await call()
                except AssertionError as error:
                    raise AssertionError(name) from error
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await file.close()

    trio.run(main)


def test_a_call_that_is_cancelled_already_begins_nothing(
    scratch: Path, engine: str, faults: Faults
) -> None:
    data = bytearray(8)

    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            for name, call in calls(file, data).items():
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await call()
                assert scope.cancelled_caught, name
            assert faults.seen() == []
            assert not is_exported(data)

    trio.run(main)


@pytest.mark.combination
def test_a_write_cancelled_in_flight_keeps_its_buffer_until_its_completion_is_seen(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path, data = make(scratch / "file"), bytearray(block(7))

    async def main() -> None:
        async with opened(path, engine) as file, trio.open_nursery() as nursery:
            faults.rule(WRITE, HOLD)
            write = await hold(nursery, faults, lambda: file.pwrite(data, 0, fua=True))
            write.scope.cancel()
            await turns()
            assert write.was_cancelled
            assert is_exported(data)
            let_go(file, faults)
            await until(lambda: not is_exported(data))

    trio.run(main)
    assert path.read_bytes()[:BLOCK] == data


def test_a_write_that_was_answered_before_its_cancel_returns(
    scratch: Path, engine: str, faults: Faults
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            faults.rule(WRITE, HOLD)
            async with trio.open_nursery() as nursery:
                write = await hold(nursery, faults, lambda: file.pwrite(block(7), 0, fua=True))
                let_go(file, faults)
                while file._waiting:  # it is answered, its task not run: no checkpoint between
                    file._turn()
                write.scope.cancel()
            assert (write.result, write.was_cancelled) == (BLOCK, False)

    trio.run(main)


@pytest.mark.parametrize("durable", ["fua", "flush", None])
def test_a_cancelled_batch_begins_no_more(
    scratch: Path, engine: str, faults: Faults, durable: str | None
) -> None:
    data = bytearray(64 * BLOCK)
    offsets = [n * BLOCK for n in range(64)]

    async def main() -> None:
        async with opened(make(scratch / "file"), engine, depth=4) as file:
            faults.rule(WRITE, HOLD, times=-1)
            write = partial(file.write_batch, offsets, data, durable=durable)  # type: ignore[arg-type]  # from the parameters
            async with trio.open_nursery() as nursery:
                batch = await hold(nursery, faults, write, count=4)
                batch.scope.cancel()
            assert batch.was_cancelled
            await turns()
            assert is_exported(data)
            faults.forget_rules()
            let_go(file, faults)
            await until(lambda: not is_exported(data))
            assert len(faults.seen(WRITE)) == 4

    trio.run(main)


@pytest.mark.parametrize("how", ["fua-direct", "fua-buffered", "plain-buffered"])
def test_ten_thousand_calls_cancelled_at_random_leave_what_was_promised(
    scratch: Path, engine: str, how: str
) -> None:
    fua, random_ = "fua" in how, random.Random(42)
    count = cancels(engine, how) * 6 // 5
    promises = Promises(scratch / "file", count, direct="direct" in how)

    async def write(file: AsyncFile, number: int) -> None:
        offset = promises.offset(number)
        promises.keep(number, await file.pwrite(promises.piece(number), offset, fua=fua))

    async def main() -> None:
        async with open_async(
            promises.path, "r+", engine=engine, direct="direct" in how, depth=64
        ) as file:
            for first in range(0, count, count // 40):
                async with trio.open_nursery() as nursery:
                    numbers = range(first, first + count // 40)
                    writes = [begin(nursery, partial(write, file, number)) for number in numbers]
                    await turns(random_.randrange(6))
                    for one in random_.sample(writes, len(writes) * 5 // 6):
                        one.scope.cancel()
                        if random_.random() < 0.1:  # so that they come at all moments
                            await turns(random_.randrange(3))
                told = {n for n, one in zip(numbers, writes, strict=True) if not one.was_cancelled}
                assert told == promises.kept & {*numbers}
        assert file._queue.held == {}
        assert file._waiting == {}

    trio.run(main)
    promises.check()


def test_ctrl_c_ends_the_run_and_closes_its_file(
    scratch: Path, engine: str, faults: Faults
) -> None:
    data, files = bytearray(block(1)), []

    async def main() -> None:
        async with open_async(make(scratch / "file"), "r+", engine=engine) as file:
            files.append(file)
            faults.rule(WRITE, HOLD)

            @trio.lowlevel.enable_ki_protection  # so that it comes to the main task, which waits
            async def interrupt() -> None:
                await until(faults.are_held)
                signal.raise_signal(signal.SIGINT)
                await turns()
                let_go(file, faults)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(interrupt)
                await file.pwrite(data, 0, fua=True)

    with pytest.raises(BaseExceptionGroup) as ended:
        trio.run(main)
    assert ended.value.subgroup(KeyboardInterrupt) is not None
    assert files[0]._queue.is_closed
    assert not is_exported(data)
