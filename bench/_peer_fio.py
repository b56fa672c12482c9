"""fio: its engines psync, libaio and io_uring, each durable by ``--sync=dsync``.

At a depth above 1 with the options of batches that were the fastest of those tried: all that is
free is submitted by one call, and whatever has completed is taken by one. io_uring has its buffers
and its file registered, and never a thread in the kernel that polls: pinned to the processor of
its program, that takes all the time there is.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec

from fuaio.bench._peer import Peer
from fuaio.bench._work import Pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuaio.bench._work import Work

__all__ = ["Fio", "fio_options", "fio_result"]

_ENGINE_OPTIONS = {
    "psync": (),
    "libaio": (),
    "io_uring": ("--fixedbufs=1", "--registerfiles=1"),
}


class Fio(Peer):
    """fio with one of its engines."""

    def __init__(self, engine: str) -> None:
        super().__init__(f"fio-{engine}")
        self._engine = engine

    def why_not(self, work: Work) -> str:
        """Return why it cannot do *work* here, or nothing."""
        if shutil.which("fio") is None:
            return "fio is not on PATH: apt install fio, or run ci/peers"
        if work.pattern is Pattern.APPEND:
            return "of fio overwrites are measured; of fuaio, and Python's own, appends too"
        if self._engine == "psync" and work.depth > 1:
            return "fio's psync has one write in flight: use fio-libaio or fio-io_uring, or depth 1"
        return ""

    def command(self, work: Work, job: int) -> Sequence[str]:
        """Return the program that does it."""
        program = shutil.which("fio") or "fio"
        return self._command("fuaio.bench._peer_program", work, job, program)


def fio_options(engine: str, work: Work, job: int) -> list[str]:
    """Return the arguments that make fio do *work*."""
    options = [
        "--name=peer",
        "--output-format=json",
        "--filename=" + work.path.replace(":", r"\:"),
        f"--ioengine={engine}",
        *_ENGINE_OPTIONS[engine],
        "--sync=dsync",
        f"--direct={int(work.direct)}",
        f"--rw={'randwrite' if work.pattern is Pattern.RANDOM else 'write'}",
        f"--bs={work.block_bytes}",
        f"--size={work.region_bytes}",
        f"--io_size={1 << 62}",
        f"--buffer_pattern=0x{work.fill:02x}",
        f"--randseed={job + 1}",
        "--norandommap",  # no bitmap of what was written: it only costs
        "--file_append=0",
        "--overwrite=0",
        "--allow_file_create=0",
        "--thread",
        "--time_based",
        f"--runtime={round(work.seconds * 1000)}ms",
    ]
    if not work.latencies:
        options.append("--gtod_reduce=1")
    if work.pattern is Pattern.SEQUENTIAL:
        blocks = work.region_bytes // work.block_bytes
        options.append(f"--offset={blocks * job // work.jobs * work.block_bytes}")
    if work.depth > 1:
        options += [
            f"--iodepth={work.depth}",
            f"--iodepth_batch_submit={work.depth}",
            "--iodepth_batch_complete_min=1",
            f"--iodepth_batch_complete_max={work.depth}",
        ]
    return options


class _Write(msgspec.Struct):
    total_ios: int
    runtime: int
    short_ios: int = 0


class _Job(msgspec.Struct):
    error: int
    write: _Write


class _Output(msgspec.Struct):
    jobs: list[_Job]


def fio_result(output: str) -> tuple[int, float]:
    """Return how many writes fio made, and in how many seconds.

    Raises:
        ValueError: It failed, or says something else.
    """
    _, brace, rest = output.partition("{")  # warnings may stand before
    try:
        (job,) = msgspec.json.decode(brace + rest, type=_Output).jobs
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"fio printed no result ({error}): {output[:200]!r}") from None
    if job.error or job.write.short_ios:
        raise ValueError(f"fio: error {job.error}, {job.write.short_ios} short writes")
    return job.write.total_ios, job.write.runtime / 1000
