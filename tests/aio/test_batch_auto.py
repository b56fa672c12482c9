"""durable="auto": whichever way it goes nothing is told durable that is not, and it says why."""

from __future__ import annotations

import errno
from array import array
from pathlib import Path
from typing import Any

import pytest
from async_files import Run
from async_files import opened as opened_async
from core_files import (
    BLOCK,
    DSYNC,
    batch,
    block,
    can_fua,
    emulating,
    has_blocks,
    make,
    opened,
    threads,
    wait_promised,
)
from faults_table import ANSWER, FLUSH, HOLD, WRITE, Faults, Seen
from life_files import is_exported

from fuaio.aio import BatchError, DurabilityError, File, Fua, Statistics
from fuaio.aio._core import ffi, lib
from fuaio.aio._statistics import Registered, statistics_of

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
DURABLE = pytest.mark.parametrize("durable", ["fua", "flush", "auto", None])

SAMPLE = 64  # writes of a sample of a narrow batch: the first are all flagged, the next grouped
COUNT = 3 * SAMPLE


def unkept(requests: list[Seen]) -> int:
    """How many of the writes neither carry the flag nor have a flush after them."""
    waiting = 0
    for request in requests:
        if request.kind == FLUSH:
            waiting = 0
        elif not request.flags:
            waiting += 1
    return waiting


def need_native(file: File) -> None:
    """Skip where each write would need a flush whichever way it goes."""
    if can_fua(file) is not Fua.NATIVE:
        pytest.skip(f"the header that {file.engine} was built with has no writev2 helper")


# ---- what was promised ----


@pytest.mark.combination
@DIRECT
@pytest.mark.parametrize("depth", [1, 4, 8])
def test_every_write_is_in_its_place_and_is_flagged_or_followed_by_a_flush(
    scratch: Path, engine: str, faults: Faults, direct: bool, depth: int
) -> None:
    path = make(scratch / "file", COUNT * BLOCK)
    faults.clock(write_ns=1, fua_ns=1, flush_ns=1)
    with opened(path, engine, direct=direct, depth=depth) as file:
        native = file.can_fua is Fua.NATIVE
        for first in range(0, COUNT, COUNT // 3):
            some = batch(COUNT // 3, first=first)
            assert file.write_batch(*some, durable="auto") == COUNT // 3 * BLOCK
            assert unkept(faults.seen()) == 0
    assert has_blocks(path, range(COUNT))
    flags = [write.flags for write in faults.seen(WRITE)]
    assert len(flags) == COUNT
    if native and direct:
        assert set(flags) == {DSYNC, 0}  # both ways were tried


@DIRECT
def test_no_flush_of_a_group_is_submitted_before_its_last_write_is_completed(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    path = make(scratch / "file", COUNT * BLOCK)
    faults.clock(write_ns=1, fua_ns=1, flush_ns=1)
    with opened(path, engine, direct=direct, depth=4) as file, threads() as start:
        file.write_batch(*batch(SAMPLE), durable="auto")
        faults.rule(WRITE, HOLD, nth=SAMPLE + 4)
        written = start(file.write_batch, *batch(4, first=SAMPLE), durable="auto")
        faults.wait_held()
        wait_promised(file, 3)
        assert [request.kind for request in faults.seen()[-4:]] == [WRITE] * 4
        assert {request.flags for request in faults.seen()[-4:]} == {0}
        assert not written.done()
        faults.rule(FLUSH, HOLD, nth=1 + len(faults.seen(FLUSH)))
        faults.release()
        faults.wait_held()
        assert not written.done()  # nor told before the flush is
        faults.release()
        assert written.result() == 4 * BLOCK
    assert faults.seen()[-1].kind == FLUSH


# ---- faults ----


def test_a_failed_flush_fails_its_group_and_what_follows_goes_with_the_flag(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file", COUNT * BLOCK)
    faults.clock(write_ns=1, fua_ns=100, flush_ns=1)
    with opened(path, engine, direct=True, depth=4) as file:
        need_native(file)
        faults.rule(FLUSH, ANSWER, -errno.EIO)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(COUNT), durable="auto")
        grouped = [n for n, write in enumerate(faults.seen(WRITE)) if not write.flags]
        assert len(grouped) == 4
        assert list(caught.value.failures) == grouped
        assert {type(one) for one in caught.value.failures.values()} == {DurabilityError}
        assert file.write_batch(*batch(COUNT), durable="auto") == COUNT * BLOCK
        assert len(faults.seen(FLUSH)) == 1
        with pytest.raises(DurabilityError):
            file.flush()
    assert has_blocks(path, range(COUNT))


def test_a_failed_flush_fails_all_that_follows_where_each_write_needs_one(
    scratch: Path, engine: str, faults: Faults
) -> None:
    faults.clock(write_ns=1, fua_ns=1, flush_ns=1)
    with emulating(
        make(scratch / "file", COUNT * BLOCK), engine, faults, direct=True, depth=4
    ) as file:
        faults.rule(FLUSH, ANSWER, -errno.EIO, nth=3)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(COUNT), durable="auto")
        failures = caught.value.failures
        assert {type(one) for one in failures.values()} == {DurabilityError}
        flushes = [n for n, request in enumerate(faults.seen()) if request.kind == FLUSH]
        assert len(flushes) == 3
        # No more were kept than had gone before the last good flush.
        assert COUNT - len(failures) <= flushes[1] - 1
        with pytest.raises(BatchError) as again:
            file.write_batch(*batch(4), durable="auto")
        assert list(again.value.failures) == [0, 1, 2, 3]


def test_a_write_that_fails_is_told_alone_and_its_group_is_flushed(
    scratch: Path, engine: str, faults: Faults
) -> None:
    path = make(scratch / "file", COUNT * BLOCK)
    faults.clock(write_ns=1, fua_ns=1, flush_ns=1)
    with opened(path, engine, direct=True, depth=4) as file:
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=10)
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=COUNT - 20)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(COUNT), durable="auto")
        failed = list(caught.value.failures)
    assert len(failed) == 2
    assert unkept(faults.seen()) == 0
    assert has_blocks(path, [number for number in range(COUNT) if number not in failed])


def test_writes_that_fail_teach_nothing(scratch: Path, engine: str, faults: Faults) -> None:
    faults.clock(write_ns=1, fua_ns=1, flush_ns=1)
    with opened(make(scratch / "file", COUNT * BLOCK), engine, direct=True, depth=1) as file:
        for nth in range(1, COUNT, 8):
            faults.rule(WRITE, ANSWER, -errno.EIO, nth=nth)
        with pytest.raises(BatchError):
            file.write_batch(*batch(COUNT), durable="auto")
        (choice,) = file.statistics().auto
        assert (choice.fua.samples, choice.flush.samples, choice.chosen) == (0, 0, None)


# ---- what it says ----


@pytest.mark.parametrize(
    ("fua_ns", "why"),
    [
        (5_000, "fua: 5.0 us a write against 41.0 us with flush, medians of 3"),
        (50_000, "flush: 41.0 us a write against 50.0 us with fua, medians of 3"),
    ],
)
def test_statistics_say_which_way_was_chosen_and_by_which_figures(
    scratch: Path, engine: str, faults: Faults, fua_ns: int, why: str
) -> None:
    faults.clock(write_ns=1_000, fua_ns=fua_ns, flush_ns=40_000)
    with opened(make(scratch / "file"), engine, direct=True, depth=1) as file:
        need_native(file)
        assert file.statistics()[:3] == (0, 0, ())
        offsets, data = array("q", bytes(8 * 200)), block(1, 200 * BLOCK)
        for _ in range(3):
            file.write_batch(offsets, data, durable="auto")
        writes, flushes, (choice,), _pool = file.statistics()
    assert writes == 600
    assert flushes == len(faults.seen(FLUSH))
    assert choice.why == why
    assert choice.chosen == why.partition(":")[0]
    assert (choice.widths, choice.lengths) == (range(1, 2), range(8192))
    assert choice.fua.median_s == pytest.approx(fua_ns / 1e9)
    assert choice.flush.median_s == pytest.approx(41e-6)
    assert (choice.fua.samples, choice.flush.samples, choice.switches) == (3, 3, 0)
    grouped = flushes * 41e-6
    assert choice.total_s == pytest.approx((600 - flushes) * fua_ns / 1e9 + grouped)
    # Three samples of each: 64 writes, or 5 ms at the end of eight.
    assert choice.trials_s <= 3 * 64 * (fua_ns / 1e9 + 41e-6) * 1.001


def test_batches_of_another_width_or_length_are_another_choice(
    scratch: Path, engine: str, faults: Faults
) -> None:
    faults.clock(write_ns=1_000, fua_ns=1_000, flush_ns=1_000)
    with opened(make(scratch / "file"), engine, depth=8) as file:
        for count, length in ((1, 10), (3, 10), (20, 10), (9, 20), (3, 10_000)):
            file.write_batch(range(count), block(1, count * length), durable="auto")
        file.write_batch([0], b"x", durable="fua")
        found = [(choice.widths, choice.lengths) for choice in file.statistics().auto]
        assert {choice.chosen for choice in file.statistics().auto} == {None}
    assert found == [
        (range(1, 2), range(8192)),
        (range(2, 4), range(8192)),
        (range(8, 16), range(8192)),
        (range(2, 4), range(8192, 65536)),
    ]


@pytest.mark.parametrize(
    ("known", "grouped", "samples", "medians", "why"),
    [
        (False, False, (2, 1), (1e-6, 2e-6), "not known yet; samples so far: fua 2, flush 1"),
        (
            *(True, False, (99, 98), (10.8e-6, 10e-6)),
            "fua: 10.8 us a write against 10.0 us with flush, medians of 7; "
            "a switch needs a lead of 10 %",
        ),
        (
            *(True, True, (5, 5), (1e-3, 12.34e-6)),
            "flush: 12.3 us a write against 1000.0 us with fua, medians of 5",
        ),
    ],
)
def test_the_reason_is_a_sentence_with_both_figures(
    known: bool,
    grouped: bool,
    samples: tuple[int, int],
    medians: tuple[float, float],
    why: str,
) -> None:
    told = ffi.new("struct fuaio_statistics *")
    told.choices = 1
    told.choice[0].known = known
    told.choice[0].chosen = lib.FUAIO_BY_GROUP if grouped else lib.FUAIO_BY_FUA
    for way in range(2):
        told.choice[0].ways[way].samples = samples[way]
        told.choice[0].ways[way].median_s = medians[way]
    pool = Registered(buffers=False, why_not="no pool")
    assert statistics_of(told, pool).auto[0].why == why


def test_statistics_of_an_async_file_are_the_same(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    faults.clock(write_ns=1_000, fua_ns=5_000, flush_ns=40_000)
    path = make(scratch / "file", COUNT * BLOCK)

    async def main() -> Statistics:
        async with opened_async(path, engine, direct=True, depth=1) as file:
            assert await file.write_batch(*batch(COUNT), durable="auto") == COUNT * BLOCK
            return file.statistics()

    writes, flushes, (choice,), _pool = run(main())
    assert (writes, flushes) == (COUNT, len(faults.seen(FLUSH)))
    assert (choice.fua.samples, choice.flush.samples) == (1, 2)
    assert unkept(faults.seen()) == 0
    assert has_blocks(path, range(COUNT))


# ---- latencies ----


@pytest.mark.combination
@DURABLE
def test_a_latency_is_from_the_beginning_of_a_write_until_it_is_durable(
    scratch: Path,
    engine: str,
    faults: Faults,
    durable: Any,  # noqa: ANN401  # one of the four
) -> None:
    faults.clock(write_ns=1_000, fua_ns=5_000, flush_ns=40_000)
    with opened(make(scratch / "file"), engine, direct=True, depth=1) as file:
        native = file.can_fua is Fua.NATIVE
        latencies = array("Q", bytes(8 * 5))
        file.write_batch(*batch(5), durable=durable, latencies=latencies)
    flagged = 5_000 if native else 41_000
    expected = {"fua": flagged, "auto": flagged, "flush": 41_000, None: 1_000}
    assert latencies.tolist() == [expected[durable]] * 5


def test_the_latencies_of_a_group_reach_to_its_flush(
    scratch: Path, ring_engine: str, faults: Faults
) -> None:
    faults.clock(write_ns=1_000, fua_ns=5_000, flush_ns=40_000)
    with opened(make(scratch / "file"), ring_engine, direct=True, depth=4) as file:
        latencies = array("Q", bytes(8 * 8))
        file.write_batch(*batch(8), durable="flush", latencies=latencies)
    assert latencies.tolist() == [44_000] * 8


def test_the_latency_of_a_write_that_fails_is_until_that_is_known(
    scratch: Path, engine: str, faults: Faults
) -> None:
    faults.clock(write_ns=1_000, fua_ns=5_000, flush_ns=40_000)
    with opened(make(scratch / "file"), engine, direct=True, depth=1) as file:
        latencies = array("Q", [7, 7, 7])
        faults.rule(WRITE, ANSWER, -errno.EIO, nth=2)
        with pytest.raises(BatchError) as caught:
            file.write_batch(*batch(3), durable="flush", latencies=latencies)
        assert list(caught.value.failures) == [1]
        latencies.append(1)  # nobody holds it any more, though the error lives
    assert latencies.tolist() == [41_000, 1_000, 41_000, 1]


def test_an_async_file_tells_latencies_too(
    scratch: Path, engine: str, faults: Faults, run: Run
) -> None:
    faults.clock(write_ns=1_000, fua_ns=5_000, flush_ns=40_000)
    latencies = array("Q", bytes(8 * 3))

    async def main() -> None:
        async with opened_async(make(scratch / "file"), engine, direct=True, depth=1) as file:
            await file.write_batch(*batch(3), durable="flush", latencies=latencies)

    run(main())
    assert latencies.tolist() == [41_000] * 3
    latencies.append(1)


@pytest.mark.parametrize(
    ("latencies", "kind", "why"),
    [
        (array("Q", [0]), ValueError, "1 places for 2 requests"),
        (array("Q", [0, 0, 0]), ValueError, "3 places for 2 requests"),
        (memoryview(array("Q", [0, 0, 0, 0]))[::2], ValueError, "2 places"),
        (array("q", [0, 0]), TypeError, "array of format 'q'"),
        (array("d", [0, 0]), TypeError, "format 'd'"),
        (bytearray(16), TypeError, "bytearray of format 'B'"),
        (memoryview(array("Q", [0, 0])).toreadonly(), TypeError, "format 'Q', read-only"),
        ([0, 0], TypeError, "list"),
    ],
)
def test_what_cannot_take_a_latency_of_each_is_refused_and_nothing_begins(
    scratch: Path,
    engine: str,
    faults: Faults,
    latencies: Any,  # noqa: ANN401  # of several kinds
    kind: type[Exception],
    why: str,
) -> None:
    data = bytearray(2)
    with opened(make(scratch / "file"), engine) as file:
        with pytest.raises(kind, match=why):
            file.write_batch([0, 1], data, latencies=latencies)
        assert not is_exported(data)
    assert faults.seen() == []
