"""The program of one job of fio or of QEMU: ``python -m fuaio.bench._peer_program ORDER``.

It runs the other program and adds the processor time, of its threads and of the kernel's workers
too, which neither tells. What its start costs, which is not in the time that is measured, is learnt
by a run that does next to nothing, and taken off.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec

from fuaio.bench._peer import Order, cpu_s, wait_for_release
from fuaio.bench._peer_fio import fio_options, fio_result
from fuaio.bench._peer_qemu import qemu_options, qemu_seconds
from fuaio.bench._work import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuaio.bench._work import Work

Found = TypeVar("Found")

_ENOUGH = 10  # a trial of this part of the time tells how many writes fill all of it


def main(argument: str) -> int:
    """Do what the order says; return the exit code."""
    order = msgspec.json.decode(argument, type=Order)
    program, _, engine = order.peer.partition("-")
    answer = _fio(order, engine) if program == "fio" else _qemu(order, engine)
    print(msgspec.json.encode(answer).decode())
    return 0


def _fio(order: Order, engine: str) -> Answer:
    def run(work: Work) -> tuple[int, float]:
        return fio_result(_run(order.program, *fio_options(engine, work, order.job)))

    _, start_s = _with_cpu_s(lambda: run(msgspec.structs.replace(order.work, seconds=0.001)))
    wait_for_release()
    (writes, elapsed_s), spent_s = _with_cpu_s(lambda: run(order.work))
    return Answer(writes=writes, elapsed_s=elapsed_s, cpu_s=max(0.0, spent_s - start_s))


def _qemu(order: Order, engine: str) -> Answer:
    def write(count: int) -> float:
        return qemu_seconds(
            _run(order.program, *qemu_options(engine, order.work, order.job, count))
        )

    work = order.work
    count = max(16, 2 * work.depth)
    while (taken_s := write(count)) < work.seconds / _ENOUGH:
        count *= 4
    count = max(count, round(count / taken_s * work.seconds))
    _, start_s = _with_cpu_s(lambda: write(1))
    wait_for_release()
    elapsed_s, spent_s = _with_cpu_s(lambda: write(count))
    return Answer(writes=count, elapsed_s=elapsed_s, cpu_s=max(0.0, spent_s - start_s))


def _with_cpu_s(run: Callable[[], Found]) -> tuple[Found, float]:
    """Return what *run* returns, and the processor time of the programs that it ran."""
    before = cpu_s(resource.RUSAGE_CHILDREN)
    found = run()
    return found, cpu_s(resource.RUSAGE_CHILDREN) - before


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ValueError(said[-1] if said else f"{command[0]} ends with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except (OSError, ValueError, EOFError) as error:
        sys.exit(str(error))
