"""Contestants for tests: tiny real programs that say what they were told to say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from fuaio.bench import Answer, Contestant, Machine, Result, Run, Sample, Work
from fuaio.bench._statistics import summarize
from fuaio.bench._work import decode_answer

LIMIT_S = 60
WORK = Work(path="", region_bytes=1 << 20, seconds=0.01)
ANSWER = Answer(writes=100, elapsed_s=0.5, cpu_s=0.25, latencies_s=[0.001, 0.002])


class Program:
    """Notes its name in a file when it runs, and prints an answer."""

    def __init__(
        self, name: str, log: Path, *, answer: Answer = ANSWER, before: str = "", refused: str = ""
    ) -> None:
        """*before* is Python that runs first, with its job's number as ``job``."""
        self.name = name
        self._log = log
        self._answer = answer
        self._before = before
        self._refused = refused

    def why_not(self, work: Work) -> str:
        """Return what the test wants."""
        return self._refused

    def command(self, work: Work, job: int) -> Sequence[str]:
        """Return the program."""
        note = f"{self.name} {'latencies' if work.latencies else job}\n"
        text = msgspec.json.encode(self._answer).decode()
        program = (
            f"job = {job}\nopen({str(self._log)!r}, 'a').write({note!r})\n{self._before}\n"
            f"print({text!r})"
        )
        return [sys.executable, "-S", "-c", program]

    def answer(self, output: str, work: Work) -> Answer:
        """Return what the program printed."""
        return decode_answer(self.name, output)


class ReleasedProgram(Program):
    """Prints a line, and waits for one."""

    is_released: Literal[True] = True

    def __init__(self, name: str, log: Path, *, before: str = "") -> None:
        """*before* runs after the line has come."""
        wait = "import sys; print('ready', flush=True); assert sys.stdin.readline()"
        super().__init__(name, log, before=f"{wait}\n{before}")


def sample_run() -> Run:
    """Return a run of two that were measured and one that was not."""
    latencies = summarize([0.0001, 0.0002, 0.0004])
    results = []
    for depth in (1, 16):
        for name, speed in (("fuaio:io_uring:fua", 2000.0), ("other", 1000.0), ("broken", 0.0)):
            samples = [
                Sample(writes=10, elapsed_s=0.1, iops=speed * factor, cpu_s=0.001, flushes=5)
                for factor in (1, 2, 3)
                if speed
            ]
            results.append(
                Result(
                    contestant=name,
                    is_ours=name.startswith("fuaio"),
                    baseline="",
                    depth=depth,
                    jobs=1,
                    why_not="" if speed else "it is not installed",
                    samples=samples,
                    latencies=latencies if speed else None,
                    why_no_latencies="",
                )
            )
    machine = Machine(
        kernel="6.1",
        processor="a processor",
        processors=2,
        allowed_processors=[0],
        python="3.11",
        place="/somewhere",
        file_system="ext4",
        device="sda",
        device_model="",
        write_cache="write back",
        fua="0",
        why_no_flushes="",
        build={},
    )
    return Run(
        schema_version="1.0",
        fuaio_version="0.1.0",
        machine=machine,
        work=WORK,
        rounds=3,
        results=results,
    )


def run_job(peer: Contestant, work: Work, *before: str) -> Answer:
    """Let *peer* do *work* as its first job; *before* is what runs it, such as strace."""
    done = subprocess.run(
        [*before, *peer.command(work, 0)],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ready, answer = done.stdout.splitlines()
    assert ready == "ready"
    return peer.answer(answer, work)
