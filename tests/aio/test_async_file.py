"""An `AsyncFile` does what a `File` does, and gives the loop its turns."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from pathlib import Path

import pytest
from async_files import Run, emulating, hold, in_flight, let_go, opened, until
from core_files import BLOCK, DSYNC, block, make
from faults_table import ANSWER, FAIL, FLUSH, HOLD, SETUP, SHORT, SUBMIT, WRITE, Faults
from life_files import is_exported

from fuaio.aio import (
    AlignmentError,
    AsyncFile,
    BatchError,
    ClosedError,
    DurabilityError,
    EngineUnavailableError,
    Fua,
    open_async,
)

pytestmark = pytest.mark.combination


# ---- the same as a File ----


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_what_was_written_is_read_again(scratch: Path, engine: str, direct: bool, run: Run) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        async with opened(path, engine, direct=direct, depth=4) as file:
            assert (file.engine, file.closed) == (engine, False)
            done = await asyncio.gather(
                *(file.pwrite(block(n), n * BLOCK, fua=n % 2 == 0) for n in range(16))
            )
            assert done == [BLOCK] * 16
            await file.flush()
            await file.flush(metadata=True)
            for n in range(16):
                assert await file.pread(BLOCK, n * BLOCK) == block(n)
            assert file.size == 64 * BLOCK

    run(main())
    assert path.read_bytes()[: 16 * BLOCK] == b"".join(block(n) for n in range(16))


@pytest.mark.parametrize("durable", ["fua", "flush", "auto", None])
def test_a_batch_is_written_whole_and_read_again(
    scratch: Path, engine: str, durable: str | None, run: Run
) -> None:
    path = make(scratch / "file")
    offsets = [n * BLOCK for n in reversed(range(40))]
    data = [block(n) for n in range(40)]

    async def main() -> list[int]:
        async with opened(path, engine, depth=4) as file:
            done = await file.write_batch(offsets, data, durable=durable)  # type: ignore[arg-type]  # from the parameters
            assert done == 40 * BLOCK
            again = bytearray(41 * BLOCK)
            assert await file.read_batch([*offsets, 64 * BLOCK], again) == [BLOCK] * 40 + [0]
            assert again[: 40 * BLOCK] == b"".join(data)
            return offsets

    run(main())
    assert path.read_bytes()[: 40 * BLOCK] == b"".join(reversed(data))


def test_a_durable_write_carries_the_flag_or_is_followed_by_a_flush(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            assert await file.pwrite(block(1), 0, fua=True) == BLOCK
            flags = {write.flags for write in faults.seen(WRITE)}
            if file.can_fua is Fua.NATIVE:
                assert (flags, faults.seen(FLUSH)) == ({DSYNC}, [])
            else:
                assert (flags, len(faults.seen(FLUSH))) == ({0}, 1)

    run(main())


def test_a_short_write_is_gone_on_with(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        async with opened(path, engine) as file:
            faults.rule(WRITE, SHORT, 1000)
            assert await file.pwrite(block(3), 0, fua=True) == BLOCK

    run(main())
    assert path.read_bytes()[:BLOCK] == block(3)


def test_an_error_is_the_kernels_and_the_next_request_is_not_its_victim(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            faults.rule(WRITE, SHORT, 512)
            faults.rule(WRITE, ANSWER, -errno.ENOSPC, nth=2)
            with pytest.raises(OSError) as failed:
                await file.pwrite(block(1), 0)
            assert (failed.value.errno, vars(failed.value)["bytes_written"]) == (errno.ENOSPC, 512)
            assert await file.pwrite(block(1), 0) == BLOCK

    run(main())


def test_emulated_writes_share_the_flush_that_began_after_them(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with emulating(make(scratch / "file"), engine, faults) as file:
            faults.rule(FLUSH, HOLD)
            first = await hold(file, faults, file.pwrite(block(1), 0, fua=True))
            rest = [
                asyncio.ensure_future(file.pwrite(block(n), n * BLOCK, fua=True))
                for n in range(2, 12)
            ]
            await until(lambda: len(faults.seen(WRITE)) == 11 and in_flight(file) == 1)
            assert len(faults.seen(FLUSH)) == 1
            assert not any(task.done() for task in rest)
            let_go(file, faults)
            assert await asyncio.gather(first, *rest) == [BLOCK] * 11
            assert len(faults.seen(FLUSH)) == 2

    run(main())


def test_a_failed_flush_fails_all_that_waited_for_it_and_latches(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with emulating(make(scratch / "file"), engine, faults) as file:
            faults.rule(FLUSH, ANSWER, -errno.EIO)
            answers = await asyncio.gather(
                *(file.pwrite(block(n), n * BLOCK, fua=True) for n in range(8)),
                return_exceptions=True,
            )
            assert all(isinstance(answer, DurabilityError) for answer in answers)
            with pytest.raises(DurabilityError):
                await file.flush()
            with pytest.raises(BatchError) as failed:
                await file.write_batch([0, BLOCK], bytes(2 * BLOCK))
            assert sorted(failed.value.failures) == [0, 1]
            assert await file.pwrite(block(1), 0) == BLOCK

    run(main())


# ---- what cannot begin ----


def test_what_is_not_aligned_is_refused_before_anything_is_submitted(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine, direct=True) as file:
            aligned = block(1)
            before = faults.asked(SUBMIT)
            for data, offset in ((aligned[:-1], 0), (aligned, 1), (aligned[1:], 0)):
                with pytest.raises(AlignmentError, match="O_DIRECT"):
                    await file.pwrite(data, offset)
                with pytest.raises(AlignmentError, match="request 1: "):
                    await file.write_batch([0, offset], [aligned, data])
            assert faults.asked(SUBMIT) == before
            assert faults.seen(WRITE) == []

    run(main())


def test_negative_numbers_and_empty_batches_are_refused(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            data = bytearray(2)
            with pytest.raises(ValueError, match="negative"):
                await file.pwrite(data, -1)
            with pytest.raises(ValueError, match="negative"):
                await file.pread(-1, 0)
            with pytest.raises(ValueError, match="request 1: offset -1"):
                await file.write_batch([0, -1], data)
            with pytest.raises(ValueError, match="empty batch"):
                await file.write_batch([], [])
            with pytest.raises(TypeError, match="read-only"):
                await file.pread_into(b"bytes", 0)
            assert not is_exported(data)
            assert faults.seen() == []

    run(main())


def test_empty_data_writes_nothing_and_submits_nothing(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:
            assert await file.pwrite(b"", 0, fua=True) == 0
            assert await file.pread(0, 0) == b""
            assert await file.pread_into(bytearray(), 5) == 0
            assert faults.seen() == []

    run(main())


def test_a_closed_file_takes_nothing(scratch: Path, engine: str, run: Run) -> None:
    async def main() -> None:
        async with open_async(make(scratch / "file"), "r+", engine=engine) as file:
            pass
        data = bytearray(8)
        for call in (
            file.pwrite(data, 0),
            file.pread(1, 0),
            file.flush(),
            file.write_batch([0], data),
            file.read_batch([0], data),
        ):
            with pytest.raises(ClosedError, match="closed"):
                await call
        assert file.closed
        assert not is_exported(data)
        await file.close()

    run(main())


def test_a_ring_that_cannot_tell_an_eventfd_is_refused_and_leaves_nothing(
    scratch: Path, faults: Faults, run: Run
) -> None:
    from life_files import descriptors
    from needs import need_engine

    need_engine("io_uring")
    path = make(scratch / "file")

    async def main() -> None:
        before = set(descriptors().values())
        faults.restart()
        faults.rule(SETUP, FAIL, -errno.EPERM, nth=2)
        with pytest.raises(EngineUnavailableError) as refused:
            await open_async(path, engine="io_uring")
        assert refused.value.errno == errno.EPERM
        del refused
        assert str(path) not in set(descriptors().values()) - before

    run(main())


def test_a_kernel_without_the_flags_of_one_thread_gives_a_ring_without(
    scratch: Path, faults: Faults, run: Run
) -> None:
    from needs import need_engine

    need_engine("io_uring")
    path = make(scratch / "file")

    async def main() -> None:
        faults.restart()
        faults.rule(SETUP, FAIL, -errno.EINVAL)
        async with opened(path, "io_uring") as file:
            assert faults.asked(SETUP) == 3  # refused, set up, told of the eventfd
            done = await asyncio.gather(
                *(file.pwrite(block(n), n * BLOCK, fua=True) for n in range(40))
            )
            assert done == [BLOCK] * 40

    run(main())


# ---- turns of the loop ----


def test_what_one_turn_asks_for_is_submitted_together(
    scratch: Path, ring_engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), ring_engine, direct=True) as file:
            faults.rule(WRITE, HOLD)
            first = await hold(file, faults, file.pwrite(block(1), 0))
            before = faults.asked(SUBMIT)
            rest = [
                asyncio.ensure_future(file.pwrite(block(n), n * BLOCK, fua=True))
                for n in range(2, 22)
            ]
            assert await asyncio.gather(*rest) == [BLOCK] * 20
            asked = faults.asked(SUBMIT) - before
            let_go(file, faults)
            assert await first == BLOCK
            # Where it takes a flush to make them durable, that is submitted after them.
            assert asked == (1 if file.can_fua is Fua.NATIVE else 2)

    run(main())


def test_those_who_were_answered_together_submit_together_again(
    scratch: Path, ring_engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), ring_engine, direct=True) as file:
            before = 0

            async def write_twice(number: int) -> None:
                nonlocal before
                await file.pwrite(block(number), number * BLOCK)
                before = before or faults.asked(SUBMIT)
                await file.pwrite(block(number), number * BLOCK)

            faults.rule(WRITE, HOLD, times=4)
            tasks = [asyncio.ensure_future(write_twice(number)) for number in range(4)]
            await until(lambda: faults.are_held(4))
            let_go(file, faults)
            await asyncio.gather(*tasks)
            assert faults.asked(SUBMIT) - before == 1

    run(main())


def test_more_completions_than_a_turn_tells_are_all_told(
    scratch: Path, ring_engine: str, faults: Faults, run: Run
) -> None:
    count = 300

    async def main() -> None:
        async with opened(make(scratch / "file"), ring_engine, depth=count) as file:
            faults.rule(WRITE, HOLD, times=-1)
            writes = [
                asyncio.ensure_future(file.pwrite(block(n, 16), n * 16)) for n in range(count)
            ]
            await until(lambda: faults.are_held(count))
            let_go(file, faults)
            assert await asyncio.gather(*writes) == [16] * count

    run(main())


def test_a_submission_that_the_kernel_refuses_for_now_is_made_again_at_later_turns(
    scratch: Path, ring_engine: str, faults: Faults, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), ring_engine) as file:
            # Nothing is in flight, so no eventfd tells; and a turn ends after a millisecond.
            faults.rule(SUBMIT, FAIL, -errno.EAGAIN, times=40)
            write = asyncio.ensure_future(file.pwrite(block(1), 0, fua=True))
            assert await beats_beside(write) >= 3
            assert await write == BLOCK

    run(main())


async def beats_beside(busy: asyncio.Task[object]) -> int:
    """How many turns another task gets until *busy* is done."""
    beats = 0
    while not busy.done():
        beats += 1
        await asyncio.sleep(0)
    return beats


def test_a_heart_beats_beside_requests_that_are_all_done_at_once(
    scratch: Path, engine: str, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine) as file:

            async def busy() -> None:
                for _ in range(640):
                    await file.pread_into(bytearray(8), 0)

            assert await beats_beside(asyncio.ensure_future(busy())) >= 20

    run(main())


def test_a_heart_beats_beside_a_batch_that_is_done_without_waiting(
    scratch: Path, engine: str, run: Run
) -> None:
    async def main() -> None:
        async with opened(make(scratch / "file"), engine, depth=1) as file:
            # A turn ends after 256 steps, here of one request, or a millisecond.
            batch = file.read_batch(range(2048), bytearray(2048))
            assert await beats_beside(asyncio.ensure_future(batch)) >= 6

            async def small_ones() -> None:
                for _ in range(320):
                    await file.read_batch([0], bytearray(1))

            assert await beats_beside(asyncio.ensure_future(small_ones())) >= 10

    run(main())


# ---- imports ----


def test_only_who_opens_a_file_for_a_loop_imports_one() -> None:
    program = (
        "import sys, fuaio.aio as aio\n"
        "aio.open_file, aio.File, aio.available()\n"
        "print(sorted(set(aio.__all__) - set(dir(aio))))\n"
        "from fuaio.aio import AsyncFile, open_async\n"
        "print(AsyncFile.__name__, open_async.__name__)\n"
        "print({'asyncio', 'trio'} & {*sys.modules})\n"
        "try: aio.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "[]",
        "AsyncFile open_async",
        "set()",
        "module 'fuaio.aio' has no attribute 'nothing'",
    ]
    assert AsyncFile.__module__ == "fuaio.aio._async_file"
