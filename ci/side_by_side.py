"""Run several commands at a time, and show what they say as if they ran one after the other.

Usage: side_by_side.py AT_ONCE FOLDER NAME... -- COMMAND...

For each NAME, in this order, and no more than AT_ONCE at a time, runs COMMAND, in which NAME
stands for a word `{}`. What it says goes to FOLDER/NAME.log, and from there to the output: of the
first that has not ended as it comes, of the others when it is their turn. A single one is simply
run, with the input and output that are here; several have no input.

FOLDER/NAME.row is a line with its name, the time it took, what of that the processors took for it
and its children, and how it ended. Exits 1 if any failed; Ctrl-C and SIGTERM end them all first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import FrameType

LOOK_AGAIN_S = 0.2
# What an ending may take after each signal: what is interrupted cleans up.
ENDINGS = ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
INTERRUPTED = 128 + signal.SIGINT


class Asked:
    """What Ctrl-C and SIGTERM ask for: nothing of what runs when they come is cut short."""

    def __init__(self) -> None:
        """Take SIGTERM for Ctrl-C, also where the latter was ignored around us."""
        self.to_end = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.to_end = True


class Job:
    """One command, its log and its row."""

    def __init__(self, name: str, folder: Path, command: Sequence[str]) -> None:
        """Nothing runs yet."""
        self.name = name
        self.log = folder / f"{name}.log"
        self.row = folder / f"{name}.row"
        self.ended = Event()
        self._began = Event()
        self._command = [name if word == "{}" else word for word in command]
        self._process: subprocess.Popen[bytes] | None = None
        self.log.write_bytes(b"")
        self.row.unlink(missing_ok=True)

    def run_here(self) -> int:
        """Run it with our input and output; 0 if it succeeded."""
        print(f"=== {self.name}", flush=True)
        process = subprocess.Popen(self._command)
        try:
            return 0 if self._wait(process) else 1
        except KeyboardInterrupt:  # it is interrupted too
            process.wait()
            return INTERRUPTED

    def run_apart(self) -> bool:
        """Run it with nothing to read and the log to write to; True if it succeeded."""
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,  # for the signals, which are to reach its children too
                )
            self._began.set()
            return self._wait(self._process)
        finally:
            self.ended.set()
            self._began.set()

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        began = time.monotonic()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took, processors = time.monotonic() - began, used.ru_utime + used.ru_stime
        result = "passed" if process.returncode == 0 else "FAILED"
        self.row.write_text(f"{self.name:14} {took:5.0f} s {processors:9.0f} s  {result}\n")
        return process.returncode == 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all its processes, if it runs or is about to."""
        if self.ended.is_set():
            return
        self._began.wait()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def show(self, asked: Asked) -> bool:
        """Copy its log to the output until it has ended; False if *asked* to end before."""
        print(f"=== {self.name}", flush=True)
        with self.log.open("rb") as log:
            while not asked.to_end:
                # Asked before: what was written until it ended is still to be read.
                is_last = self.ended.wait(LOOK_AGAIN_S)
                while data := log.read(1 << 16):
                    sys.stdout.buffer.write(data)
                sys.stdout.flush()
                if is_last:
                    return True
        return False


def end(jobs: Sequence[Job]) -> None:
    """End those that run, and wait until they have."""
    for number, patience in ENDINGS:
        limit = time.monotonic() + patience
        for job in jobs:
            job.send(number)
        if all(job.ended.wait(max(0.0, limit - time.monotonic())) for job in jobs):
            return


def run_apart(jobs: Sequence[Job], at_once: int, asked: Asked) -> int:
    """Run the *jobs*, show them in their order; 0 if all succeeded."""
    with ThreadPoolExecutor(at_once) as pool:
        futures: list[Future[bool]] = [pool.submit(job.run_apart) for job in jobs]
        if all(job.show(asked) for job in jobs):
            return 0 if all(future.result() for future in futures) else 1
        for job, future in zip(jobs, futures, strict=True):
            if future.cancel():
                job.ended.set()
        end(jobs)
        return INTERRUPTED


def main(*words: str) -> int:
    """Run what the *words* say."""
    middle = words.index("--")
    (at_once, folder, *names), command = words[:middle], words[middle + 1 :]
    Path(folder).mkdir(parents=True, exist_ok=True)
    jobs = [Job(name, Path(folder), command) for name in names]
    if len(jobs) == 1:
        return jobs[0].run_here()
    return run_apart(jobs, int(at_once), Asked())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
