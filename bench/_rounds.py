"""Rounds: each contestant does the work once before any does it again."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from fuaio.bench._statistics import add_up, summarize
from fuaio.bench._work import Released

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from fuaio.bench._record import Latencies, Sample
    from fuaio.bench._work import Answer, Contestant, Work

    Process = subprocess.Popen[str]

__all__ = ["Entry", "run_rounds"]

_PATIENCE_S = 60.0  # for programs to start and to end, besides the time they measure


class Entry:
    """What is known of a contestant so far."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.samples: list[Sample] = []
        self.why_not = ""
        self.latencies: Latencies | None = None
        self.why_no_latencies = ""


def run_rounds(
    contestants: Sequence[Contestant],
    work: Work,
    latency_work: Work,
    rounds: int,
    *,
    flushes: Callable[[], int | None],
    done: Callable[[], object],
) -> list[Entry]:
    """Let each of *contestants* do *work* once a round, then *latency_work* once.

    In each round another one begins, so that none is always after the same. One that cannot, or
    fails, says why and takes no further part; what it did before stays.

    Args:
        contestants: In the order of the answer.
        work: For the samples.
        latency_work: For the latencies.
        rounds: How many.
        flushes: Returns the device's count.
        done: Called after each turn, also one that is not taken.
    """
    entries = [Entry(contestant) for contestant in contestants]
    for entry in entries:
        _ask_why_not(entry, work)
    for number in range(rounds):
        first = number % len(entries)
        for entry in entries[first:] + entries[:first]:
            if not entry.why_not:
                _take_sample(entry, work, flushes)
            done()
    for entry in entries:
        if not entry.why_not:
            _take_latencies(entry, latency_work)
        done()
    return entries


def _ask_why_not(entry: Entry, work: Work) -> None:
    try:
        entry.why_not = entry.contestant.why_not(work)
    except (OSError, ValueError) as error:
        entry.why_not = str(error)


def _take_sample(entry: Entry, work: Work, flushes: Callable[[], int | None]) -> None:
    try:
        answers, counted = _run_jobs(entry.contestant, work, flushes)
        entry.samples.append(add_up(answers, counted))
    except (OSError, ValueError) as error:
        entry.why_not = str(error)


def _take_latencies(entry: Entry, work: Work) -> None:
    try:
        answers, _ = _run_jobs(entry.contestant, work, lambda: None)
    except (OSError, ValueError) as error:
        entry.why_no_latencies = str(error)
        return
    found = [latency for answer in answers for latency in answer.latencies_s]
    if found:
        entry.latencies = summarize(found)
    else:
        entry.why_no_latencies = "it does not tell the time of single writes"


def _run_jobs(
    contestant: Contestant, work: Work, flushes: Callable[[], int | None]
) -> tuple[list[Answer], int | None]:
    """Run all jobs at once; return their answers, and the flushes meanwhile.

    Raises:
        OSError: A program cannot be started.
        ValueError: One failed, said nothing, or did not end.
    """
    with _started(contestant, work) as (processes, errors):
        if isinstance(contestant, Released):
            for process, error in zip(processes, errors, strict=True):
                if not _stdout(process).readline():
                    raise ValueError(_failure(process, error))
        before = flushes()
        for process in processes:
            _release(process)
        outputs = [_stdout(process).read() for process in processes]
        for process, error in zip(processes, errors, strict=True):
            if process.wait() != 0:
                raise ValueError(_failure(process, error))
        after = flushes()
    counted = None if before is None or after is None else after - before
    return [contestant.answer(output, work) for output in outputs], counted


@contextmanager
def _started(contestant: Contestant, work: Work) -> Iterator[tuple[list[Process], list[IO[str]]]]:
    """Start the jobs, each in a group of its own; at the end of the block none is left."""
    processes: list[Process] = []
    errors: list[IO[str]] = []
    timer = threading.Timer(work.seconds + _PATIENCE_S, _kill, [processes])
    timer.daemon = True
    timer.start()
    try:
        for job in range(work.jobs):
            errors.append(tempfile.TemporaryFile("w+", errors="replace"))
            processes.append(
                subprocess.Popen(
                    contestant.command(work, job),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors[-1],
                    text=True,
                    errors="replace",
                    process_group=0,
                )
            )
        yield processes, errors
    finally:
        timer.cancel()
        _kill(processes)
        for process in processes:
            process.wait()
            _stdout(process).close()
            with suppress(BrokenPipeError):
                _stdin(process).close()
        for error in errors:
            error.close()


def _kill(processes: Sequence[Process]) -> None:
    """End each that was not seen to end, with all that it has started."""
    for process in processes:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _release(process: Process) -> None:
    with suppress(BrokenPipeError):  # it has ended; its exit code says why
        _stdin(process).write("\n")
        _stdin(process).flush()
        _stdin(process).close()


def _failure(process: Process, error: IO[str]) -> str:
    """Return the last line that the program wrote on its standard error, or how it ended."""
    code = process.wait()
    error.seek(0)
    lines = error.read().split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if code == -signal.SIGKILL:
        return f"it did not end within {_PATIENCE_S:.0f} s and was killed"
    return said or f"its program ended with exit code {code} and said nothing"


def _stdout(process: Process) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def _stdin(process: Process) -> IO[str]:
    assert process.stdin is not None
    return process.stdin
