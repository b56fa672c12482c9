"""A run as text: a table for each depth and number of jobs, for eyes and for grep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuaio.bench._statistics import cpu_us_per_write, flushes_per_write, iops, ratio
from fuaio.probe import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuaio.bench._record import Machine, Result, Run
    from fuaio.bench._statistics import Spread

__all__ = ["render"]

_HEAD = (
    "contestant",
    "IOPS",
    "(least-most)",
    "x write_then_flush",
    "p50 us",
    "p99 us",
    "CPU us/write",
    "flushes/write",
)


def render(run: Run) -> str:
    """Return *run* as text, with a newline at the end."""
    rows: dict[tuple[int, int], list[Result]] = {}
    for result in run.results:
        rows.setdefault((result.depth, result.jobs), []).append(result)
    parts = [_machine_lines(run)]
    for (depth, jobs), results in rows.items():
        parts.append(
            [
                f"depth {depth}, {jobs} job{'s' if jobs > 1 else ''}",
                *_align([_HEAD, *(_cells(result, results) for result in results)]),
                *_align(_against(results)),
                *_reasons(results),
            ]
        )
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _machine_lines(run: Run) -> list[str]:
    machine, work = run.machine, run.work
    allowed = len(machine.allowed_processors)
    lines = [
        f"fuaio {run.fuaio_version}, Linux {machine.kernel}, Python {machine.python}",
        f"{machine.processor}, {machine.processors} processors"
        + (f", {allowed} of them used" if allowed < machine.processors else ""),
        f"{machine.place}: {_device_words(machine)}",
        f"{work.pattern.words}, {work.block_bytes} bytes each, O_DIRECT, in a region of "
        f"{work.region_bytes} bytes; {run.rounds} rounds of {work.seconds:g} s, median",
    ]
    if machine.why_no_flushes:
        lines.append(f"flushes are not known: {machine.why_no_flushes}")
    return [escape(line) for line in lines]


def _device_words(machine: Machine) -> str:
    model = f" ({machine.device_model})" if machine.device_model else ""
    device = f"{machine.device}{model}" if machine.device else "a device that is not known"
    return (
        f"{machine.file_system + ' on ' if machine.file_system else ''}{device}, "
        f"write_cache {machine.write_cache or 'not known'}, fua {machine.fua or 'not known'}"
    )


def _cells(result: Result, results: Sequence[Result]) -> list[str]:
    speed = iops(result)
    cells = [escape(result.contestant)]
    cells += [f"{speed.median:.0f}", f"({speed.least:.0f}-{speed.most:.0f})"] if speed else "--"
    cells.append(_times(_to_baseline(result, results)))
    times = result.latencies
    cells += [f"{times.p50_s * 1e6:.1f}", f"{times.p99_s * 1e6:.1f}"] if times else "--"
    return [
        *cells,
        _number(cpu_us_per_write(result), 2),
        _number(flushes_per_write(result), 3),
    ]


def _to_baseline(result: Result, results: Sequence[Result]) -> Spread | None:
    base = [other for other in results if other.contestant == result.baseline]
    return ratio(result, base[0]) if base else None


def _against(results: Sequence[Result]) -> list[list[str]]:
    """Ours to theirs, each to each."""
    return [
        [f"{escape(ours.contestant)} / {escape(other.contestant)}", _times(ratio(ours, other))]
        for ours in results
        for other in results
        if ours.is_ours and not other.is_ours
    ]


def _reasons(results: Sequence[Result]) -> list[str]:
    lines = []
    for result in results:
        if result.why_not:
            lines.append(f"{result.contestant}: {result.why_not}")
        elif result.why_no_latencies:
            lines.append(f"{result.contestant}: no latencies: {result.why_no_latencies}")
    return [escape(line) for line in lines]


def _times(found: Spread | None) -> str:
    if found is None:
        return "-"
    return f"{found.median:.2f} ({found.least:.2f}-{found.most:.2f})"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
