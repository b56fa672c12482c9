"""Whatever begins, is cancelled and is closed, what was promised is in the file."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Coroutine
from pathlib import Path

import pytest
from async_files import Run, turns
from core_files import make
from faults_table import ANSWER, FLUSH, READ, SHORT, WRITE, Faults
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuaio.aio import AsyncFile, ClosedError, open_async

SIZE = 48  # of a block, in bytes
BLOCKS = 256

DURABLE = st.sampled_from(["fua", "flush", "auto", None])
# Each sample is over at once, so that auto changes its way with every other batch.
OFTEN = {"write_ns": 5_000_000, "fua_ns": 5_000_000, "flush_ns": 5_000_000}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 6), st.booleans()),
        st.tuples(st.just("batch"), st.integers(1, 12), DURABLE),
        st.tuples(st.just("read"), st.integers(0, BLOCKS - 1), st.none()),
        st.tuples(st.just("flush"), st.integers(0, 1), st.none()),
        st.tuples(st.just("turns"), st.integers(0, 4), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 40), st.none()),
        st.tuples(st.just("again"), st.sampled_from([READ, WRITE, FLUSH]), st.none()),
        st.tuples(st.just("short"), st.integers(1, SIZE - 1), st.none()),
        st.tuples(st.just("close"), st.just(0), st.none()),
        st.tuples(st.just("cancelled close"), st.just(0), st.none()),
    ),
    max_size=40,
)


class Scene:
    """One file, every block of which is written at most once, by a task of its own."""

    def __init__(self, path: Path, file: AsyncFile, faults: Faults) -> None:
        self.path, self.file, self.faults = path, file, faults
        self.blocks = 0
        self.tasks: list[asyncio.Task[object]] = []
        self.asked: dict[asyncio.Task[object], range] = {}

    @staticmethod
    def content(number: int) -> bytes:
        return bytes([number % 255 + 1]) * SIZE

    def begin(self, call: Coroutine[object, object, object]) -> asyncio.Task[object]:
        task = asyncio.ensure_future(call)
        self.tasks.append(task)
        return task

    def numbers(self, count: int) -> range:
        first = self.blocks
        self.blocks = min(BLOCKS, first + count)
        return range(first, self.blocks)

    def write(self, count: int, fua: bool) -> None:
        for number in self.numbers(count):
            call = self.file.pwrite(self.content(number), number * SIZE, fua=fua)
            self.asked[self.begin(call)] = range(number, number + 1)

    def batch(self, count: int, durable: str | None) -> None:
        numbers = self.numbers(count)
        if numbers:
            call = self.file.write_batch(
                [n * SIZE for n in numbers],
                [self.content(n) for n in numbers],
                durable=durable,  # type: ignore[arg-type]  # one of the four
            )
            self.asked[self.begin(call)] = numbers

    async def do(self, what: str, number: int, how: object) -> None:
        if what == "write":
            self.write(number, bool(how))
        elif what == "batch":
            self.batch(number, None if how is None else str(how))
        elif what == "read":
            self.begin(self.file.pread(SIZE, number * SIZE))
        elif what == "flush":
            self.begin(self.file.flush(metadata=bool(number)))
        elif what == "turns":
            await turns(number)
        elif what == "cancel" and self.tasks:
            self.tasks[-1 - number % len(self.tasks)].cancel()
        elif what == "again":
            self.faults.restart()
            self.faults.rule(number, ANSWER, -errno.EINTR if number == READ else -errno.EAGAIN)
        elif what == "short":
            self.faults.restart()
            self.faults.rule(WRITE, SHORT, number)
        elif what == "close":
            self.begin(self.file.close())
        elif what == "cancelled close":
            self.begin(self.file.close()).cancel()

    async def end(self) -> None:
        await self.file.close()
        ends = await asyncio.gather(*self.tasks, return_exceptions=True)
        allowed = (asyncio.CancelledError, ClosedError)
        assert not [e for e in ends if isinstance(e, BaseException) and not isinstance(e, allowed)]
        found = self.path.read_bytes()
        for task, numbers in self.asked.items():
            promised = not task.cancelled() and task.exception() is None
            for number in numbers:
                block = found[number * SIZE : (number + 1) * SIZE]
                kept = (self.content(number),) if promised else (self.content(number), bytes(SIZE))
                assert block in kept
        assert self.file._queue.held == {}
        assert (self.file._waiting, self.file._batches) == ({}, {})
        assert self.file._queue._abandoned == []


def test_whatever_begins_is_cancelled_and_closed_what_was_promised_is_there(
    scratch: Path, engine: str, faults: Faults, run_on_each: Run
) -> None:
    path = scratch / "file"

    @settings(
        max_examples=int(os.environ.get("FUAIO_EXAMPLES", "25")),
        derandomize=True,
        suppress_health_check=list(HealthCheck),  # a slow disk is no failure
    )
    @given(steps=STEPS, depth=st.integers(1, 5))
    def try_it(steps: list[tuple[str, int, object]], depth: int) -> None:
        faults.remove()
        faults.install()
        faults.clock(**OFTEN)
        make(path, BLOCKS * SIZE)

        async def main() -> None:
            file = await open_async(path, "r+", engine=engine, depth=depth)
            scene = Scene(path, file, faults)
            for step in steps:
                await scene.do(*step)
            await scene.end()

        run_on_each(main())

    try_it()


def test_a_seeded_loss_is_found(
    scratch: Path, faults: Faults, run_on_each: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        path = make(scratch / "file", BLOCKS * SIZE)
        file = await open_async(path, "r+", engine="threads")
        scene = Scene(path, file, faults)
        scene.write(1, True)
        await turns(50)
        monkeypatch.setattr(Scene, "content", staticmethod(lambda number: b"\xff" * SIZE))
        with pytest.raises(AssertionError):
            await scene.end()

    run_on_each(main())
