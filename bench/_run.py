"""A run: which contestants do which work, how often, and all of it in one record."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from fuaio import __version__
from fuaio.bench._machine import describe_machine
from fuaio.bench._ours import Ours, Way, name_of
from fuaio.bench._record import SCHEMA_VERSION, Result, Run
from fuaio.bench._rounds import run_rounds
from fuaio.bench._work import Pattern, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fuaio.bench._rounds import Entry
    from fuaio.bench._target import Target
    from fuaio.bench._work import Contestant

__all__ = ["DEPTHS", "QEMU", "Plan", "Row", "measure"]

Row = tuple[int, int]
"""Writes in flight of each job, and jobs."""

QEMU: tuple[Row, ...] = ((1, 1), (1, 16), (16, 1))
"""As the commit that brought FUA to QEMU's file-posix was measured (984a32f17e)."""

DEPTHS: tuple[Row, ...] = tuple((1 << power, 1) for power in range(8))

# Beside the time that is measured: a start of Python and the search for how many by one call.
_START_S = 0.2
_WARM_UP = 0.1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure."""

    contestants: Sequence[Contestant]
    rows: Sequence[Row] = (*QEMU, *(row for row in DEPTHS if row not in QEMU))
    rounds: int = 5
    seconds: float = 0.2
    pattern: Pattern = Pattern.RANDOM

    @property
    def turns(self) -> int:
        """How often a contestant has its turn, those for the latencies among them."""
        return len(self.rows) * len(self.contestants) * (self.rounds + 1)

    @property
    def about_s(self) -> float:
        """How long it will take, where every contestant takes part."""
        turn_s = sum(
            self.seconds * (1 + _WARM_UP) + _START_S * max(1, jobs / (os.cpu_count() or 1))
            for _, jobs in self.rows
        )
        return turn_s * len(self.contestants) * (self.rounds + 1)


def measure(target: Target, plan: Plan, *, done: Callable[[], object] | None = None) -> Run:
    """Measure and return all that was found.

    Args:
        target: Is overwritten.
        plan: What to measure.
        done: Called after each of `Plan.turns`.

    Raises:
        KeyboardInterrupt: And the like: no process of a contestant is left.
    """
    work = Work(
        path=target.path,
        region_bytes=target.region_bytes,
        seconds=plan.seconds,
        pattern=plan.pattern,
    )
    results: list[Result] = []
    for depth, jobs in plan.rows:
        row = msgspec.structs.replace(work, depth=depth, jobs=jobs)
        entries = run_rounds(
            plan.contestants,
            row,
            msgspec.structs.replace(row, latencies=True),
            plan.rounds,
            flushes=target.device.flushes,
            done=done or _nothing,
        )
        names = {entry.contestant.name for entry in entries}
        results += [_result(entry, row, names) for entry in entries]
    return Run(
        schema_version=SCHEMA_VERSION,
        fuaio_version=__version__,
        machine=describe_machine(target),
        work=work,
        rounds=plan.rounds,
        results=results,
    )


def _nothing() -> None:
    pass


def _result(entry: Entry, work: Work, names: set[str]) -> Result:
    contestant = entry.contestant
    baseline = ""
    if isinstance(contestant, Ours):
        baseline = name_of(contestant.engine, Way.WRITE_THEN_FLUSH)
    return Result(
        contestant=contestant.name,
        is_ours=isinstance(contestant, Ours),
        baseline=baseline if baseline in names - {contestant.name} else "",
        depth=work.depth,
        jobs=work.jobs,
        why_not=entry.why_not,
        samples=entry.samples,
        latencies=entry.latencies,
        why_no_latencies=entry.why_no_latencies,
    )
