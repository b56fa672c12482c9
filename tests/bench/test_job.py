"""A job of ours: it writes what it says, where it says, as durably as it says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from needs import need_engine
from real_strace import need_strace

from fuaio.bench import Answer, Ours, Pattern, Target, Way, Work, scratch_file

REGION_BYTES = 1 << 20
DURABLE = (Way.WRITE_THEN_FLUSH, Way.FUA, Way.GROUP_FLUSH, Way.AUTO)


@pytest.fixture
def target(scratch: Path) -> Iterator[Target]:
    with scratch_file(str(scratch), REGION_BYTES) as made:
        # Zeros, so that what a job wrote can be told.
        with open(made.path, "r+b", buffering=0) as file:
            file.write(bytes(REGION_BYTES))
            os.fsync(file)
        yield made


def work_on(target: Target, **changes: object) -> Work:
    work = Work(path=target.path, region_bytes=REGION_BYTES, seconds=0.02)
    return msgspec.structs.replace(work, **changes)


def run_job(ours: Ours, work: Work, *before: str, job: int = 0) -> Answer:
    done = subprocess.run(
        [*before, *ours.command(work, job)], input="\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    ready, answer = done.stdout.splitlines()
    assert ready == "ready"
    return ours.answer(answer, work)


def blocks_written(target: Target, fill: int) -> int:
    content = Path(target.path).read_bytes()
    blocks = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    assert set(blocks) <= {bytes(4096), bytes([fill]) * 4096}
    return sum(block[0] == fill for block in blocks)


@pytest.mark.parametrize("way", list(Way))
def test_every_block_that_it_claims_is_written_with_the_fill(
    target: Target, engine: str, way: Way
) -> None:
    work = work_on(target, fill=0x5A)
    answer = run_job(Ours(engine, way), work)
    assert answer.writes >= 1
    assert answer.elapsed_s >= work.seconds
    assert answer.cpu_s > 0
    assert answer.latencies_s == []
    # The warm-up's are among those that are there, and in one time round none is twice.
    assert blocks_written(target, 0x5A) >= min(answer.writes, 256)


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("depth", [16, 128])
def test_it_writes_whole_depths_from_a_batch(target: Target, way: Way, depth: int) -> None:
    need_engine("io_uring")
    answer = run_job(Ours("io_uring", way), work_on(target, depth=depth))
    assert answer.writes % depth == 0
    assert blocks_written(target, 0xA5) > 0


@pytest.mark.parametrize("depth", [1, 16])
def test_where_latencies_are_asked_for_there_is_one_for_each_write(
    target: Target, depth: int
) -> None:
    need_engine("io_uring")
    work = work_on(target, depth=depth, latencies=True)
    answer = run_job(Ours("io_uring", Way.FUA), work)
    assert len(answer.latencies_s) == answer.writes
    assert all(0 < latency <= answer.elapsed_s for latency in answer.latencies_s)


def calls_of(folder: Path, target: Target, ours: Ours, work: Work, job: int = 0) -> list[str]:
    """What the job asks of its file, as strace shows it."""
    trace = folder / "trace"
    watched = "trace=pwritev2,pwritev,pwrite64,fdatasync,fsync"
    run_job(ours, work, need_strace(), "-qq", "-y", "-o", str(trace), "-e", watched, job=job)
    return [line for line in trace.read_text().splitlines() if f"<{target.place}/" in line]


@pytest.mark.strace
def test_jobs_write_at_offsets_of_their_own(target: Target, tmp_path: Path) -> None:
    work = work_on(target, jobs=4, pattern=Pattern.SEQUENTIAL, seconds=0.0)
    firsts = {
        calls_of(tmp_path, target, Ours("threads", Way.FUA), work, job)[0].split(", ")[-2]
        for job in range(4)
    }
    assert firsts == {str(REGION_BYTES // 4 * job) for job in range(4)}


@pytest.mark.strace
@pytest.mark.parametrize(
    ("way", "has_flag", "is_flushed"),
    [(Way.WRITE_THEN_FLUSH, False, True), (Way.FUA, True, False), (Way.NONE, False, False)],
)
def test_a_way_differs_from_another_by_the_flag_and_the_flush_alone(
    target: Target, tmp_path: Path, way: Way, has_flag: bool, is_flushed: bool
) -> None:
    calls = calls_of(tmp_path, target, Ours("threads", way), work_on(target))
    writes = [call for call in calls if call.startswith("pwrite")]
    assert writes
    assert {"RWF_DSYNC" in call for call in writes} == {has_flag}
    assert len(calls) - len(writes) == (len(writes) if is_flushed else 0)


def test_it_ends_without_a_word_where_the_line_does_not_come(target: Target) -> None:
    ours = Ours("threads", Way.FUA)
    done = subprocess.run(
        ours.command(work_on(target), 0), input="", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "ready\n", "")


def test_what_fails_is_said_in_one_line(target: Target) -> None:
    ours = Ours("threads", Way.FUA)
    work = work_on(target, path="/no/such/file")
    done = subprocess.run(
        ours.command(work, 0), input="\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("FileNotFoundError: ")


def test_the_threads_engine_says_that_it_takes_one_at_a_time(target: Target) -> None:
    assert "one write at a time" in Ours("threads", Way.FUA).why_not(work_on(target, depth=2))
    assert Ours("threads", Way.FUA).why_not(work_on(target)) == ""


@pytest.mark.root
def test_in_memory_nothing_is_measured_as_durable(scratch: Path) -> None:
    from block_devices import mounted

    with (
        mounted("tmpfs", "tmpfs", scratch / "memory") as folder,
        scratch_file(str(folder), REGION_BYTES) as target,
    ):
        for way in DURABLE:
            assert "nothing is durable" in Ours("threads", way).why_not(work_on(target))
        assert Ours("threads", Way.NONE).why_not(work_on(target)) == ""
        assert target.device.flushes() is None
        assert target.device.why_no_flushes
