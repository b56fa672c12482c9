"""Rounds: each contestant does the work once before any does it again."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from subprocess import PIPE
from typing import TYPE_CHECKING, cast

from fuaio.bench._statistics import add_up, summarize
from fuaio.bench._work import Released

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from fuaio.bench._record import Latencies, Sample
    from fuaio.bench._work import Answer, Contestant, Work

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
    with _started(contestant, work) as jobs:
        if isinstance(contestant, Released):
            for job in jobs:
                if not job.output.readline():
                    raise ValueError(job.failure())
        before = flushes()
        for job in jobs:
            job.release()
        outputs = [job.output.read() for job in jobs]
        for job in jobs:
            if job.process.wait() != 0:
                raise ValueError(job.failure())
        after = flushes()
    counted = None if before is None or after is None else after - before
    return [contestant.answer(output, work) for output in outputs], counted


@contextmanager
def _started(contestant: Contestant, work: Work) -> Iterator[list[_Job]]:
    """Start the jobs, each in a group of its own; at the end of the block none is left."""
    jobs: list[_Job] = []
    timer = threading.Timer(work.seconds + _PATIENCE_S, _end, [jobs])
    timer.daemon = True
    timer.start()
    with ExitStack() as stack:
        stack.callback(timer.cancel)
        for number in range(work.jobs):
            errors = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            command = contestant.command(work, number)
            with _no_interrupt():
                jobs.append(_Job(command, errors))
                stack.push(jobs[-1].process)  # closes its pipes, and waits for it
                stack.callback(_end, jobs)
        yield jobs


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back: between its start and its note a process would be nobody's to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)


class _Job:
    """A program that runs."""

    def __init__(self, command: Sequence[str], errors: IO[str]) -> None:
        # In a group of its own, Ctrl-C reaches it by way of us alone.
        self.process = subprocess.Popen(
            command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True, process_group=0
        )
        self._errors = errors

    @property
    def output(self) -> IO[str]:
        """What it prints, as far as it was not read."""
        return cast("IO[str]", self.process.stdout)

    def release(self) -> None:
        """Let it begin."""
        input_ = cast("IO[str]", self.process.stdin)
        with suppress(BrokenPipeError):  # it has ended; its exit code says why
            input_.write("\n")
            input_.close()

    def end(self) -> None:
        """Kill it with all that it has started, if it was not seen to end."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def failure(self) -> str:
        """Return the last line of its standard error, or how it ended."""
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return f"it did not end within {_PATIENCE_S:.0f} s and was killed"
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return said[-1] if said else f"its program ended with exit code {code} and said nothing"


def _end(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.end()
