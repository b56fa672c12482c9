"""Those whom a run measures besides us: they write what they say, where, and as durably."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bench_programs import run_job
from fixtures_root import LoopDevices
from needs import need_engine, need_root
from real_strace import need_strace

from fuaio.bench import (
    Contestant,
    Pattern,
    Target,
    Work,
    block_device,
    peers,
    scratch_file,
)
from fuaio.bench._peer import Peer
from fuaio.bench._peer_fio import fio_result
from fuaio.bench._peer_python import LIBRARIES
from fuaio.bench._peer_qemu import qemu_seconds

REGION_BYTES = 1 << 20
BEHIND_BYTES = 1 << 16
PEERS = peers()


@pytest.fixture(params=list(PEERS))
def peer(request: pytest.FixtureRequest) -> Contestant:
    name: str = request.param
    if "uring" in name or name in ("pyaio", "aiofile"):
        need_engine("io_uring")
    if name.startswith("fuaio") and name.endswith("linux_aio"):
        need_engine("linux_aio")
    return PEERS[name]


@pytest.fixture
def target(scratch: Path) -> Iterator[Target]:
    """Zeros, and more of them behind the region."""
    with scratch_file(str(scratch), REGION_BYTES + BEHIND_BYTES) as made:
        with open(made.path, "r+b", buffering=0) as file:
            file.write(bytes(REGION_BYTES + BEHIND_BYTES))
            os.fsync(file)
        yield made


def work_for(peer: Contestant, target: Target, **changes: object) -> Work:
    """Return a short work that *peer* can do, or skip with its reason."""
    work = Work(path=target.path, region_bytes=REGION_BYTES, seconds=0.05, fill=0x5A)
    if peer.name.startswith("qemu"):
        changes["pattern"] = Pattern.SEQUENTIAL
    work = msgspec.structs.replace(work, **changes)
    if reason := peer.why_not(work):
        pytest.skip(reason)
    return work


@pytest.mark.parametrize("depth", [1, 16])
def test_a_peer_fills_blocks_of_the_region_and_nothing_behind_it(
    peer: Contestant, target: Target, depth: int
) -> None:
    work = work_for(peer, target, depth=depth)
    answer = run_job(peer, work)
    assert answer.writes >= 1
    assert answer.elapsed_s > 0
    # Of fio and QEMU what their start costs is taken off, which may be more in so short a time.
    assert answer.cpu_s >= 0 if peer.name.startswith(("fio", "qemu")) else answer.cpu_s > 0
    content = Path(target.path).read_bytes()
    blocks = [content[at : at + 4096] for at in range(0, REGION_BYTES, 4096)]
    assert set(blocks) <= {bytes(4096), b"\x5a" * 4096}
    # fio draws offsets by chance, so that some are written twice.
    least = 1 if peer.name.startswith("fio") else min(answer.writes, len(blocks))
    assert sum(block[0] == 0x5A for block in blocks) >= least
    assert content[REGION_BYTES:] == bytes(BEHIND_BYTES)


@pytest.mark.root
def test_a_device_with_a_cache_is_flushed_for_each_write_of_a_peer(
    peer: Contestant, loop_device: LoopDevices
) -> None:
    need_root()
    device = str(loop_device(4 * REGION_BYTES, logical_block_bytes=4096))
    with block_device(device, REGION_BYTES, destroy_data=True) as target:
        work = work_for(peer, target)
        before = target.device.flushes()
        answer = run_job(peer, work)
        after = target.device.flushes()
    assert before is not None
    assert after is not None
    # Without FUA, and with one write in flight, no flush can serve two.
    assert after - before >= answer.writes


@pytest.mark.strace
@pytest.mark.parametrize("name", ["os-pwritev", "asyncio-threads", "libaio"])
def test_who_takes_flags_is_given_the_flag(target: Target, tmp_path: Path, name: str) -> None:
    peer = PEERS[name]
    work = work_for(peer, target)
    trace = tmp_path / "trace"
    watched = "trace=pwritev2,io_submit"
    strace = (need_strace(), "-f", "-qq", "-o", str(trace), "-e", watched)
    answer = run_job(peer, work, *strace)
    calls = [line for line in trace.read_text().splitlines() if "resumed" not in line]
    assert sum("RWF_DSYNC" in call for call in calls) >= answer.writes


def test_qemu_says_that_it_cannot_write_at_random() -> None:
    work = Work(path="/", region_bytes=REGION_BYTES)
    assert "say --pattern sequential" in PEERS["qemu10-native"].why_not(work)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("fio-libaio", "apt install fio"),
        ("qemu7-native", "ci/peers"),
        ("qemu10-native", "ci/peers"),
    ],
)
def test_a_program_that_is_not_there_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    work = Work(path="/", region_bytes=REGION_BYTES, pattern=Pattern.SEQUENTIAL)
    assert remedy in PEERS[name].why_not(work)


def test_qemu_of_the_wrong_side_is_refused_by_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "qemu-img"
    program.write_text("#!/bin/sh\necho 'qemu-img version 9.2.1 (another)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    work = Work(path="/", region_bytes=REGION_BYTES, pattern=Pattern.SEQUENTIAL)
    assert "qemu-img is 9.2.1" in PEERS["qemu10-native"].why_not(work)
    assert PEERS["qemu7-native"].why_not(work) == ""


@pytest.mark.parametrize("name", ["fio-psync", "os-pwritev"])
def test_who_writes_one_at_a_time_says_so(name: str) -> None:
    reason = PEERS[name].why_not(Work(path="/", region_bytes=REGION_BYTES, depth=2))
    assert "one write in flight" in reason or "is not on PATH" in reason


@pytest.mark.parametrize("name", ["fio-psync", "os-pwritev", "qemu7-native", *LIBRARIES])
def test_what_fails_is_an_error_in_its_words_and_no_number(name: str, tmp_path: Path) -> None:
    peer = PEERS[name]
    path = tmp_path / "missing" / "file"  # of which fio makes the folder
    work = Work(path=str(path), region_bytes=REGION_BYTES, pattern=Pattern.SEQUENTIAL)
    if reason := peer.why_not(work):
        pytest.skip(reason)
    done = subprocess.run(
        peer.command(work, 0), input="\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "{" not in done.stdout
    assert "file" in done.stderr  # fio says that it may not make one


def test_an_answer_that_is_none_is_refused() -> None:
    work = Work(path="/", region_bytes=REGION_BYTES)
    with pytest.raises(ValueError, match="printed no answer"):
        Peer("somebody").answer("Segmentation fault", work)


@pytest.mark.parametrize(
    "output",
    [
        "fio: failed",
        '{"jobs": []}',
        '{"jobs": [{"error": 5, "write": {"total_ios": 9, "runtime": 100}}]}',
        '{"jobs": [{"error": 0, "write": {"total_ios": 9, "runtime": 100, "short_ios": 1}}]}',
    ],
)
def test_fio_that_failed_gives_no_number(output: str) -> None:
    with pytest.raises(ValueError, match="fio"):
        fio_result(output)


def test_fio_may_warn_before_its_result() -> None:
    result = '{"jobs": [{"error": 0, "write": {"total_ios": 9, "runtime": 100}}]}'
    assert fio_result("note: a warning\n" + result) == (9, 0.1)


def test_qemu_that_tells_no_time_gives_no_number() -> None:
    with pytest.raises(ValueError, match="how long"):
        qemu_seconds("Sending 16 write requests")
