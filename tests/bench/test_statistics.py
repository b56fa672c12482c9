"""The arithmetic of a run, on numbers that can be followed by hand."""

from __future__ import annotations

import pytest

from fuaio.bench import Answer, Result, Sample
from fuaio.bench._statistics import (
    MOST_LATENCIES,
    Spread,
    add_up,
    cpu_us_per_write,
    flushes_per_write,
    iops,
    percentile,
    ratio,
    summarize,
)


def sample(speed: float, *, flushes: int | None = None) -> Sample:
    return Sample(writes=100, elapsed_s=1.0, iops=speed, cpu_s=speed / 1e6, flushes=flushes)


def result(*samples: Sample) -> Result:
    return Result(
        contestant="a",
        is_ours=True,
        baseline="",
        depth=1,
        jobs=1,
        why_not="",
        samples=list(samples),
        latencies=None,
        why_no_latencies="",
    )


def test_the_speeds_of_jobs_are_added_each_by_its_own_clock() -> None:
    answers = [
        Answer(writes=100, elapsed_s=1.0, cpu_s=0.25),
        Answer(writes=100, elapsed_s=2.0, cpu_s=0.5),
    ]
    assert add_up(answers, 7) == Sample(writes=200, elapsed_s=2.0, iops=150, cpu_s=0.75, flushes=7)


@pytest.mark.parametrize(("writes", "elapsed_s"), [(0, 1.0), (10, 0.0), (10, -1.0)])
def test_a_job_that_did_nothing_or_took_no_time_is_no_sample(writes: int, elapsed_s: float) -> None:
    with pytest.raises(ValueError, match="a job made"):
        add_up([Answer(writes=writes, elapsed_s=elapsed_s, cpu_s=0)], None)


@pytest.mark.parametrize(
    ("part", "value"), [(0.0, 1), (0.5, 50), (0.9, 90), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    part: float, value: float
) -> None:
    assert percentile(range(1, 101), part) == value


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert {percentile([3.0], part) for part in (0.0, 0.5, 0.999, 1.0)} == {3.0}


def test_latencies_are_summarized_in_any_order() -> None:
    found = summarize([number / 1000 for number in range(1000, 0, -1)])
    assert (found.count, found.p50_s, found.p90_s) == (1000, 0.5, 0.9)
    assert (found.p99_s, found.p999_s, found.max_s) == (0.99, 0.999, 1.0)
    assert found.sorted_s == [number / 1000 for number in range(1, 1001)]


def test_of_many_latencies_a_stated_number_is_kept_with_the_least_and_the_greatest() -> None:
    found = summarize([float(number) for number in range(100_000)])
    assert (found.count, len(found.sorted_s)) == (100_000, MOST_LATENCIES)
    assert (found.sorted_s[0], found.sorted_s[-1]) == (0.0, 99_999.0)
    assert found.sorted_s == sorted(set(found.sorted_s))
    assert found.p99_s == 98_999.0


def test_a_speed_is_the_median_of_the_rounds_with_the_least_and_the_most() -> None:
    assert iops(result(sample(5), sample(1), sample(3))) == Spread(3, 1, 5)
    assert iops(result()) is None


def test_a_ratio_is_taken_round_by_round() -> None:
    ours = result(sample(10), sample(40), sample(90))
    theirs = result(sample(5), sample(10), sample(30))
    assert ratio(ours, theirs) == Spread(3, 2, 4)


def test_a_ratio_takes_only_the_rounds_that_both_made() -> None:
    assert ratio(result(sample(10), sample(40)), result(sample(5))) == Spread(2, 2, 2)
    assert ratio(result(sample(10)), result()) is None


def test_what_a_write_costs_is_told_in_microseconds() -> None:
    assert cpu_us_per_write(result(sample(100), sample(300), sample(200))) == pytest.approx(2.0)
    assert cpu_us_per_write(result()) is None


def test_flushes_that_are_not_known_are_not_none() -> None:
    assert flushes_per_write(result(sample(1, flushes=0), sample(1, flushes=50))) == 0.25
    assert flushes_per_write(result(sample(1, flushes=0))) == 0
    assert flushes_per_write(result(sample(1), sample(1))) is None
