"""Pictures of a run: writes a second over the depth, and how long single writes took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuaio.bench._statistics import iops

if TYPE_CHECKING:
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

    figure = Figure(figsize=(13, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    one_job = [result for result in run.results if result.jobs == 1]
    depths = sorted({result.depth for result in one_job})
    shown = [depth for depth in (1, 16) if depth in depths] or depths[:1]
    speed, *times = figure.subplots(1, 1 + len(shown), squeeze=False)[0]
    _draw_speed(speed, one_job, depths)
    for axes, depth in zip(times, shown, strict=True):
        _draw_times(axes, [result for result in one_job if result.depth == depth], depth)
    handles, labels = speed.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(_title(run))
    figure.savefig(name, dpi=150, metadata={"Date": None} if name.endswith(".svg") else None)


def _title(run: Run) -> str:
    machine, work = run.machine, run.work
    place = machine.file_system or "raw device"
    return (
        f"Durable overwrites of {work.block_bytes} bytes, O_DIRECT, {work.pattern}, "
        f"{place} on {machine.device or 'a device not known'} "
        f"(write cache: {machine.write_cache or 'not known'}, fua: {machine.fua or 'not known'})"
    )


def _draw_speed(axes: Axes, results: list[Result], depths: list[int]) -> None:
    for name in dict.fromkeys(result.contestant for result in results):
        points = [
            (result.depth, found)
            for result in sorted(results, key=lambda result: result.depth)
            if result.contestant == name and (found := iops(result)) is not None
        ]
        medians = [found.median for _, found in points]
        below = [found.median - found.least for _, found in points]
        above = [found.most - found.median for _, found in points]
        at = [depth for depth, _ in points]
        axes.errorbar(at, medians, yerr=(below, above), marker="o", capsize=3, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
    axes.set_xlabel("depth (writes in flight)")
    axes.set_ylabel("writes per second (IOPS)")
    axes.set_title("one job: median of the rounds, least to most", fontsize="medium")
    axes.grid(alpha=0.3)


def _draw_times(axes: Axes, results: list[Result], depth: int) -> None:
    for result in results:
        found = result.latencies
        values = [second * 1e6 for second in found.sorted_s] if found else []
        parts = [100 * (number + 1) / len(values) for number in range(len(values))]
        axes.step(values, parts, where="post", label=result.contestant)
    axes.set_xscale("log")
    axes.set_ylim(0, 101)
    axes.set_xlabel("time of a write (µs)")
    axes.set_ylabel("writes that took at most that (%)")
    axes.set_title(f"latency, depth {depth}", fontsize="medium")
    axes.grid(alpha=0.3, which="both")
