"""What a trial learns by doing: on this disk, and on loop devices that are the test's own."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from bench_programs import run_job
from fixtures_root import LoopDevices
from needs import need_engine

from fuaio.aio import available
from fuaio.bench import (
    Ours,
    Pattern,
    TargetError,
    Way,
    Work,
    _trial,
    _work,
    peers,
    scratch_file,
    try_out,
)
from fuaio.probe import known_facts

SECONDS = 0.002


def test_every_method_is_tried_beside_a_file_that_is_left_alone(scratch: Path) -> None:
    path = scratch / "dear"
    path.write_bytes(b"dear")
    turns: list[None] = []
    facts = try_out(str(path), seconds=SECONDS, done=lambda: turns.append(None))
    assert sorted(fact.name for fact in facts) == sorted(
        known.name for known in known_facts("trial")
    )
    assert len(turns) == _trial.turns()
    assert path.read_bytes() == b"dear"
    assert list(scratch.iterdir()) == [path]
    found = {fact.name: fact for fact in facts}
    several = ["group"] if len(available().engines) > 1 else []
    for name in ("threads", "o_dsync", "fdatasync", *several):  # which need no library
        for what in ("overwrite", "append"):
            fact = found[f"{name}_{what}_ns"]
            assert isinstance(fact.value, int), fact
            assert fact.value > 0
            assert fact.detail.startswith("p50 "), fact
    assert found["threads_can_fua"].value in ("native", "emulated")


@pytest.mark.root
def test_the_alignment_of_a_device_is_found_by_doing(loop_device: LoopDevices) -> None:
    device = loop_device(logical_block_bytes=4096)
    facts = try_out(str(device), seconds=SECONDS, destroy_data=True)
    found = {fact.name: fact for fact in facts}
    assert found["direct_offset_align"].value == 4096
    assert found["threads_can_fua"].value == "emulated"  # write, then fdatasync, on a raw device
    assert found["threads_append_ns"].state == "unknown"
    assert "does not grow" in found["threads_append_ns"].detail


@pytest.mark.parametrize("path", ["/dev/null", "/no/such"])
def test_what_is_no_place_to_write_to_is_refused(path: str) -> None:
    with pytest.raises(TargetError, match=r"neither a file|No such file"):
        try_out(path)


@pytest.mark.root
def test_a_device_is_left_alone_without_the_leave_to_destroy(loop_device: LoopDevices) -> None:
    device = loop_device()
    before = device.read_bytes()
    with pytest.raises(TargetError, match="--destroy-data"):
        try_out(str(device))
    assert device.read_bytes() == before


@pytest.mark.parametrize("sleeps", [False, True])
def test_a_submission_that_sleeps_is_told_from_one_that_does_not(sleeps: bool) -> None:
    async def write() -> int:
        if sleeps:
            # That the thread is put to sleep is what is to be seen: no time is waited for.
            time.sleep(0.001)
        await asyncio.sleep(0)  # the second step
        return 4096

    slept: list[int] = []

    async def run() -> int:
        return await _trial._noting_sleeps(write(), slept)

    assert asyncio.run(run()) == 4096
    assert len(slept) == 1
    assert bool(slept[0]) == sleeps


# ---- appends, as bench measures them ----


@pytest.mark.parametrize("name", ["io_uring", "linux_aio", "threads", "os-pwritev", "os-fdatasync"])
def test_appends_make_the_file_longer_and_are_cut_off_before_the_next_turn(
    scratch: Path, name: str
) -> None:
    ours = not name.startswith("os-")
    if ours:
        need_engine(name)
    contestant = Ours(name, Way.FUA) if ours else peers()[name]
    with scratch_file(str(scratch), 1 << 20) as target:
        work = Work(path=target.path, region_bytes=1 << 20, seconds=SECONDS, pattern=Pattern.APPEND)
        assert contestant.why_not(work) == ""
        for _ in range(2):
            writes = run_job(contestant, work).writes
            grown = os.stat(target.path).st_size - (1 << 20)
            assert grown >= writes * 4096
            assert grown % 4096 == 0
            os.truncate(target.path, 1 << 21)  # zeros that the next turn must not count
        with open(target.path, "rb") as file:
            assert file.read(1 << 20) == b"\xa5" * (1 << 20)


def test_appends_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    work = Work(path=str(path), region_bytes=8192, pattern=Pattern.APPEND)
    monkeypatch.setattr(_work, "_MOST_BEHIND_BYTES", 3 * 4096)
    offsets = _work.behind(work)
    for turn in range(2):
        assert [next(offsets) for _ in range(3)] == [8192, 12288, 16384], turn
        with path.open("r+b") as file:
            file.truncate(20480)
    assert next(offsets) == 8192
    assert path.stat().st_size == 8192


def test_who_cannot_append_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    work = Work(path=str(path), region_bytes=1 << 20, pattern=Pattern.APPEND, jobs=2)
    assert "one job" in Ours("threads", Way.FUA).why_not(work)
    assert "one job" in peers()["os-o_dsync"].why_not(work)
