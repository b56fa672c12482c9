"""The arithmetic of a run: medians, percentiles, ratios."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from fuaio.bench._record import Latencies, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuaio.bench._record import Result
    from fuaio.bench._work import Answer

__all__ = [
    "MOST_LATENCIES",
    "Spread",
    "add_up",
    "cpu_us_per_write",
    "flushes_per_write",
    "iops",
    "percentile",
    "ratio",
    "summarize",
]

MOST_LATENCIES = 2000


class Spread(NamedTuple):
    """The median of the rounds, and the least and the greatest."""

    median: float
    least: float
    most: float


def add_up(answers: Sequence[Answer], flushes: int | None) -> Sample:
    """Return what the jobs of one round did together.

    Raises:
        ValueError: A job did nothing, or in no time.
    """
    for answer in answers:
        if answer.writes < 1 or answer.elapsed_s <= 0:
            raise ValueError(f"a job made {answer.writes} writes in {answer.elapsed_s} s")
    return Sample(
        writes=sum(answer.writes for answer in answers),
        elapsed_s=max(answer.elapsed_s for answer in answers),
        iops=sum(answer.writes / answer.elapsed_s for answer in answers),
        cpu_s=sum(answer.cpu_s for answer in answers),
        flushes=flushes,
    )


def percentile(ascending: Sequence[float], part: float) -> float:
    """Return the least value that at least *part* (0 to 1) of all do not exceed."""
    rank = -int(-part * len(ascending) // 1)  # rounded up
    return ascending[max(rank, 1) - 1]


def summarize(latencies_s: Sequence[float]) -> Latencies:
    """Return percentiles of *latencies_s*, which are at least one, and no more values than many."""
    ascending = sorted(latencies_s)
    count = len(ascending)
    kept = ascending
    if count > MOST_LATENCIES:
        last = MOST_LATENCIES - 1
        kept = [ascending[number * (count - 1) // last] for number in range(MOST_LATENCIES)]
    return Latencies(
        count=count,
        p50_s=percentile(ascending, 0.5),
        p90_s=percentile(ascending, 0.9),
        p99_s=percentile(ascending, 0.99),
        p999_s=percentile(ascending, 0.999),
        max_s=ascending[-1],
        sorted_s=kept,
    )


def iops(result: Result) -> Spread | None:
    """Return the writes a second; None where there is no round."""
    return _spread([sample.iops for sample in result.samples])


def cpu_us_per_write(result: Result) -> float | None:
    """Return the processor's time for a write in microseconds, the median of the rounds."""
    found = _spread([sample.cpu_s / sample.writes for sample in result.samples])
    return None if found is None else found.median * 1e6


def flushes_per_write(result: Result) -> float | None:
    """Return the flushes for a write, the median of the rounds; None where they are not known."""
    counted = [
        sample.flushes / sample.writes for sample in result.samples if sample.flushes is not None
    ]
    found = _spread(counted)
    return None if found is None else found.median


def ratio(result: Result, other: Result) -> Spread | None:
    """Return how many times the writes of *other* it made, round by round.

    A round of both is of the same minute; a median of each alone may be of different ones.
    """
    pairs = zip(result.samples, other.samples, strict=False)  # one may have failed on the way
    return _spread([sample.iops / base.iops for sample, base in pairs])


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None
