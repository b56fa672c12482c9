"""Measure the speeds that the project is held to, and print them as a table.

Usage: speed.py DEVICE FOLDER OUTPUT

DEVICE is overwritten. Every figure is a ratio of contestants of one run of `fuaio bench`, whose
record is kept in OUTPUT; a ratio is taken round by round, and the median is what counts.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from fuaio.bench._record import Result, Run
from fuaio.bench._statistics import ratio

ROUNDS, SECONDS = 9, 0.3
RINGS = ("linux_aio", "io_uring")
QEMU_ROWS = ((1, 1), (1, 16), (16, 1))
ASYNCIO_PEERS = ("pyaio", "caio-linux", "caio-uring", "aiofile", "aiofiles", "asyncio-threads")
OURS_IN_TASKS = tuple(f"fuaio-asyncio-{engine}" for engine in RINGS)
OURS_IN_BATCHES = tuple(f"fuaio-asyncio-batches-{engine}" for engine in RINGS)


class Target(NamedTuple):
    """A line of the table: ours over others, the best of each where there are several."""

    what: str
    at_least: float
    ours: Sequence[str]
    others: Sequence[str]
    depth: int
    jobs: int = 1


def ours(way: str, *engines: str) -> list[str]:
    """Give the names of our contestants."""
    return [f"fuaio:{engine}:{way}" for engine in engines]


class Bench:
    """Runs `fuaio bench` pinned to one processor, and keeps what it records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, place: str, *options: str, against: Sequence[str] = ()) -> Run:
        """Give the record of a run on *place*."""
        record = self._folder / f"{name}.json"
        record.unlink(missing_ok=True)
        command = ["fuaio", "bench", place, "--output", str(record), "--cpu", "0"]
        command += ["--rounds", str(ROUNDS), "--seconds", str(SECONDS), *options]
        if place.startswith("/dev/"):
            command.append("--destroy-data")
        if against:
            command += ["--against", ",".join(against)]
        shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        record.with_suffix(".txt").write_text(shown, encoding="utf-8")
        return msgspec.json.decode(record.read_bytes(), type=Run)


def best(run: Run, names: Sequence[str], depth: int, jobs: int) -> Result:
    """Give the quickest of the contestants *names*, by the median."""
    found = [
        result
        for result in run.results
        if (result.depth, result.jobs) == (depth, jobs) and result.contestant in names
    ]
    able = [result for result in found if result.samples and not result.why_not]
    if not able:
        sys.exit(
            f"speed: none could: {'; '.join(f'{one.contestant}: {one.why_not}' for one in found)}"
        )
    return max(able, key=lambda result: median(sample.iops for sample in result.samples))


def line(target: Target, run: Run) -> str:
    """Give the target and what was found."""
    mine = best(run, target.ours, target.depth, target.jobs)
    its = best(run, target.others, target.depth, target.jobs)
    found = ratio(mine, its)
    assert found is not None
    verdict = "met" if found.median >= target.at_least else "MISSED"
    of = f"{mine.contestant} {thousands(mine)} against {its.contestant} {thousands(its)}"
    spread = f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})"
    return f"| {target.what} | {target.at_least:.2f} | {spread} | {verdict} | {of} |"


def thousands(result: Result) -> str:
    """Give the median rate."""
    return f"{median(sample.iops for sample in result.samples) / 1000:.1f} k"


def one_at_a_time(bench: Bench, device: str) -> Iterator[str]:
    """Depth 1."""
    engines = [word for name in ("threads", *RINGS) for word in ("--engine", name)]
    against = ("os-pwritev", "fio-psync", "fio-libaio", "fio-io_uring")
    run = bench.run("depth-1", device, "--depth", "1", *engines, against=against)
    best_of_ours = ours("fua", "threads", *RINGS)
    yield line(
        Target("depth 1, `File.pwrite`: os.pwritev", 0.85, best_of_ours, against[:1], 1), run
    )
    yield line(Target("depth 1, `File.pwrite`: fio psync", 1.0, best_of_ours, against[1:2], 1), run)


def sixteen_at_a_time(bench: Bench, device: str) -> Iterator[str]:
    """Depth 16."""
    engines = [word for name in RINGS for word in ("--engine", name)]
    against = ("fio-libaio", "fio-io_uring", "uring-api", "liburing", "libaio")
    everybody = (*against, *ASYNCIO_PEERS, *OURS_IN_TASKS, *OURS_IN_BATCHES)
    run = bench.run("depth-16", device, "--depth", "16", *engines, against=everybody)
    for what, at_least, mine, its in (
        ("`write_batch`, linux_aio: fio libaio", 1.0, ours("fua", "linux_aio"), against[:1]),
        ("`write_batch`, io_uring: fio io_uring", 1.4, ours("fua", "io_uring"), against[1:2]),
        ("asyncio, a future a write: the fastest peer", 1.8, OURS_IN_TASKS, ASYNCIO_PEERS),
        ("asyncio, a future a write: caio", 4.0, OURS_IN_TASKS, ASYNCIO_PEERS[1:3]),
        ("asyncio, batches of 16: the fastest peer", 2.5, OURS_IN_BATCHES, ASYNCIO_PEERS),
    ):
        yield line(Target(f"depth 16, {what}", at_least, mine, its, 16), run)


def qemus_table(bench: Bench, device: str) -> Iterator[str]:
    """FUA over write then flush."""
    options = ["--way", "write_then_flush", "--way", "fua"]
    options += [word for name in RINGS for word in ("--engine", name)]
    run = bench.run("qemus-table", device, "--rows", "qemu", *options)
    for depth, jobs in QEMU_ROWS:
        for engine in RINGS:
            what = f"depth {depth}, jobs {jobs}, {engine}: FUA over write then flush"
            pair = ours("fua", engine), ours("write_then_flush", engine)
            yield line(Target(what, 1.3, *pair, depth, jobs), run)


def qemu_itself(bench: Bench, device: str) -> Iterator[str]:
    """Against qemu-img bench, with the same engine."""
    options = [word for name in RINGS for word in ("--engine", name)]
    options += ["--pattern", "sequential"]
    against = [f"qemu{major}-{engine}" for major in (10, 7) for engine in ("native", "io_uring")]
    for depth in (1, 16):
        run = bench.run(f"qemu-{depth}", device, "--depth", str(depth), *options, against=against)
        for engine, other in (("linux_aio", "qemu10-native"), ("io_uring", "qemu10-io_uring")):
            what = f"depth {depth}, {engine}: {other}"
            yield line(Target(what, 1.4, ours("fua", engine), [other], depth), run)


def auto(bench: Bench, place: str, name: str) -> Iterator[str]:
    """Auto against the better of the two, at every depth."""
    ways = [word for way in ("fua", "group_flush", "auto") for word in ("--way", way)]
    options = [word for engine in RINGS for word in ("--engine", engine)]
    run = bench.run(f"auto-{name}", place, "--rows", "depths", *ways, *options)
    for power in range(8):
        for engine in RINGS:
            what = f"auto, {name}, depth {1 << power}, {engine}: the better of both"
            both = [*ours("fua", engine), *ours("group_flush", engine)]
            yield line(Target(what, 0.95, ours("auto", engine), both, 1 << power), run)


def main(device: str, folder: str, output: str) -> None:
    """Print the table, line by line."""
    bench = Bench(Path(output))
    parts: list[Callable[[Bench, str], Iterator[str]]] = [
        one_at_a_time,
        sixteen_at_a_time,
        qemus_table,
        qemu_itself,
    ]
    print("| work | at least | found | | of |\n|---|---|---|---|---|")
    for part in parts:
        for row in part(bench, device):
            print(row, flush=True)
    for place, name in ((device, "zram"), (folder, "disk")):
        for row in auto(bench, place, name):
            print(row, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
