"""A request that the kernel answers within its call needs no turn of the loop; some take one.

Not for every combination of headers: under valgrind the kernel is not done within the call.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from async_files import Run, opened, step, turns
from core_files import BLOCK, make

from fuaio.aio import _loop_asyncio


def test_an_idle_request_that_is_done_within_its_call_needs_no_turn(
    scratch: Path, ring_engine: str, run: Run
) -> None:
    path = make(scratch / "file")

    async def main() -> None:
        async with opened(path, ring_engine) as file:
            await file.pread(BLOCK, 0)
            await asyncio.sleep(0)
            assert step(file.pread_into(bytearray(BLOCK), 0)) == (True, BLOCK)

    run(main())


def test_every_32nd_call_in_a_row_that_is_done_at_once_gives_the_loop_a_turn(
    scratch: Path, ring_engine: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loop_asyncio, "monotonic", lambda: 0.0)

    async def main() -> None:
        async with opened(make(scratch / "file"), ring_engine) as file:
            await file.pread(BLOCK, 0)
            await turns()
            calls = [file.pread_into(bytearray(8), 0) for _ in range(32)]
            returned = [step(call)[0] for call in calls]
            assert returned == [True] * 31 + [False]
            assert step(calls[-1]) == (True, 8)
            await turns()
            empty = [file.pwrite(b"", 0) for _ in range(32)]
            assert [step(call)[0] for call in empty] == [True] * 31 + [False]
            assert step(empty[-1]) == (True, 0)

    run(main())


def test_calls_that_are_done_at_once_give_the_loop_a_turn_after_a_millisecond(
    scratch: Path, ring_engine: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(_loop_asyncio, "monotonic", lambda: now[0])

    async def main() -> None:
        async with opened(make(scratch / "file"), ring_engine) as file:
            await file.pread(BLOCK, 0)
            await turns()
            now[0] += 5.0  # the loop had turns: a while without any call counts for nothing
            for _ in range(2):
                assert step(file.pread_into(bytearray(8), 0)) == (True, 8)
            now[0] += 0.0011
            call = file.pread_into(bytearray(8), 0)
            assert step(call) == (False, None)
            assert step(call) == (True, 8)

    run(main())
