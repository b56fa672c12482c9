"""Pictures of a run: writes a second over the depth, and how long single writes took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuaio.bench._statistics import iops

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from fuaio.bench._record import Result, Run

__all__ = ["PlotError", "plot", "require_plots"]

SUFFIXES = (".svg", ".png")


class PlotError(Exception):
    """No picture can be made; said before anything is measured."""


def require_plots(name: str) -> None:
    """Go on only if a picture can be written to the file *name*.

    Raises:
        PlotError: matplotlib is missing, or the name does not end as a picture's.
    """
    if not name.endswith(SUFFIXES):
        raise PlotError(f"{name}: a plot is written to a name that ends in {' or '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401  # whether it is there
    except ImportError:
        raise PlotError("plots need matplotlib: python -m pip install 'fuaio[bench]'") from None


def plot(run: Run, name: str) -> None:
    """Draw *run* into the file *name*.

    Raises:
        PlotError: See `require_plots`.
        OSError: The file cannot be written.
    """
    require_plots(name)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    results = [result for result in run.results if result.jobs == 1] or run.results
    colours = {name: f"C{n}" for n, name in enumerate(dict.fromkeys(_names(results)))}
    depths = sorted({result.depth for result in results})
    shown = [depth for depth in (1, 16) if depth in depths] or depths[:1]
    speed, *times = figure.subplots(1, 1 + len(shown), squeeze=False)[0]
    _draw_speed(speed, results, colours)
    for axes, depth in zip(times, shown, strict=True):
        _draw_times(axes, [result for result in results if result.depth == depth], colours)
        axes.set_title(f"latency, depth {depth}", fontsize="medium")
    handles, labels = speed.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(_title(run, results[0].jobs))
    figure.savefig(name, dpi=150, metadata={"Date": None} if name.endswith(".svg") else None)


def _names(results: Sequence[Result]) -> list[str]:
    return [result.contestant for result in results if result.samples]


def _title(run: Run, jobs: int) -> str:
    machine, work = run.machine, run.work
    file_system = f"{machine.file_system} on " if machine.file_system else ""
    return (
        f"{work.pattern.words.capitalize()}, {work.block_bytes} bytes each, O_DIRECT, by {jobs} "
        f"job{'s' if jobs > 1 else ''}: {file_system}{machine.device or 'a device not known'}, "
        f"write cache {machine.write_cache or 'not known'}, fua {machine.fua or 'not known'}"
    )


def _draw_speed(axes: Axes, results: Sequence[Result], colours: Mapping[str, str]) -> None:
    for name, colour in colours.items():
        points = sorted(
            (result.depth, found)
            for result in results
            if result.contestant == name and (found := iops(result)) is not None
        )
        medians = [found.median for _, found in points]
        below = [found.median - found.least for _, found in points]
        above = [found.most - found.median for _, found in points]
        at = [depth for depth, _ in points]
        axes.errorbar(
            at, medians, yerr=(below, above), marker="o", capsize=3, color=colour, label=name
        )
    depths = sorted({result.depth for result in results})
    axes.set_xscale("log", base=2)
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("depth (writes in flight of each job)")
    axes.set_ylabel("writes per second (IOPS)")
    axes.set_title("median of the rounds, least to most", fontsize="medium")
    axes.grid(alpha=0.3)


def _draw_times(axes: Axes, results: Sequence[Result], colours: Mapping[str, str]) -> None:
    for result in results:
        if result.latencies is None:
            continue
        times_us = [second * 1e6 for second in result.latencies.sorted_s]
        parts = [100 * (number + 1) / len(times_us) for number in range(len(times_us))]
        axes.step(times_us, parts, where="post", color=colours[result.contestant])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_plain)
    low, high = axes.get_xlim()
    axes.xaxis.set_minor_formatter(_plain if high < 100 * low else "")  # else they overlap
    axes.set_ylim(0, 101)
    axes.set_xlabel("time of a write (µs)")
    axes.set_ylabel("writes that took no longer (%)")
    axes.grid(alpha=0.3, which="both")


def _plain(value: float, _: float) -> str:
    """Return 1, 2 and 5 and what is ten times that in digits; nothing for what lies between."""
    digits = f"{value:.12g}"
    return f"{value:,g}" if digits.rstrip("0").lstrip("0.") in ("1", "2", "5") else ""
