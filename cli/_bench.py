"""fuaio bench: what a durable write costs here, by engine, way and depth."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import click
import msgspec

from fuaio.aio import available
from fuaio.bench import (
    DEPTHS,
    QEMU,
    Contestant,
    Ours,
    Pattern,
    Plan,
    PlotError,
    Run,
    Target,
    TargetError,
    Way,
    block_device,
    measure,
    peers,
    plot,
    render,
    scratch_file,
)
from fuaio.bench._plot import require_plots
from fuaio.cli._output import require_number, tell
from fuaio.cli._size import Size
from fuaio.probe import ENGINES

ROWS = {"qemu": QEMU, "depths": DEPTHS, "all": tuple(dict.fromkeys((*QEMU, *DEPTHS)))}


@click.command()
@click.argument("path")
@click.option(
    "--engine",
    "engines",
    type=click.Choice(ENGINES),
    multiple=True,
    help="Measure this engine; may be given several times. Without it: the best that works here.",
)
@click.option(
    "--way",
    "ways",
    type=click.Choice([way.value for way in Way]),
    multiple=True,
    help="Measure this way; may be given several times. Without it: all, with --against fua.",
)
@click.option(
    "--rows",
    type=click.Choice(tuple(ROWS)),
    help="The three rows of QEMU's table, depths 1 to 128, or (without this option) both.",
)
@click.option(
    "--depth",
    "depths",
    type=click.IntRange(1, 4096),
    multiple=True,
    help="Writes in flight, in place of --rows; may be given several times.",
)
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes at once, with --depth.")
@click.option(
    "--against",
    metavar="NAME,...",
    help="Measure these too, round by round. A name that is none is answered with all names.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 3600),
    callback=require_number,
    default=0.2,
    show_default=True,
    help="How long each measures in a round.",
)
@click.option(
    "--size",
    "size_bytes",
    type=Size(),
    default="64M",
    show_default=True,
    help="The region that is overwritten.",
)
@click.option(
    "--pattern",
    type=click.Choice([pattern.value for pattern in Pattern]),
    default=Pattern.RANDOM.value,
    show_default=True,
    help="In which order the region's blocks are overwritten.",
)
@click.option("--cpu", type=click.IntRange(0), help="Run all of it on this processor alone.")
@click.option("--plot", "picture", metavar="FILE", help="Draw it too: FILE.svg or FILE.png.")
@click.option("--output", metavar="FILE", help="Write all that was found into FILE, as JSON.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How to show it.",
)
@click.option("--destroy-data", is_flag=True, help="Overwrite the block device PATH.")
def command(
    path: str,
    engines: tuple[str, ...],
    ways: tuple[str, ...],
    rows: str | None,
    depths: tuple[int, ...],
    jobs: int | None,
    against: str | None,
    rounds: int,
    seconds: float,
    size_bytes: int,
    pattern: str,
    cpu: int | None,
    picture: str | None,
    output: str | None,
    format_: str,
    destroy_data: bool,
) -> int:
    """Measure what a durable write of 4096 bytes costs on the disk of PATH.

    PATH is a folder, in which a scratch file is made for that time, or with --destroy-data a block
    device that nothing uses. An existing file is refused.

    Compare figures of one run alone. With --output all samples are kept. Exits 1 where nothing
    could be measured.
    """
    chosen_rows = _rows(rows, depths, jobs)
    names = engines or available().engines[:1]
    chosen_ways = [Way(way) for way in dict.fromkeys(ways)] or ([Way.FUA] if against else list(Way))
    ours = [Ours(engine, way) for engine in dict.fromkeys(names) for way in chosen_ways]
    plan = Plan(
        contestants=[*ours, *_others(against)],
        rows=chosen_rows,
        rounds=rounds,
        seconds=seconds,
        pattern=Pattern(pattern),
    )
    for name in filter(None, (picture, output)):
        _require_writable(name)
    if picture is not None and output is not None and _are_one(picture, output):
        raise click.UsageError(f"--plot and --output name the same file, {output}")
    if cpu is not None:
        _run_on(cpu)
    try:
        if picture is not None:
            require_plots(picture)
        with _filled(path, size_bytes, destroy_data) as target:
            run = _measured(target, plan)
    except (TargetError, PlotError) as error:
        raise click.ClickException(str(error)) from None
    encoded = msgspec.json.format(msgspec.json.encode(run), indent=1).decode() + "\n"
    tell(render(run) if format_ == "text" else encoded)
    _keep(run, encoded, output, picture)
    return 0 if any(result.samples for result in run.results) else 1


def _rows(
    rows: str | None, depths: tuple[int, ...], jobs: int | None
) -> tuple[tuple[int, int], ...]:
    if rows is not None and (depths or jobs):
        raise click.UsageError("--rows names depths and jobs already; say it or --depth and --jobs")
    if depths or jobs:
        return tuple((depth, jobs or 1) for depth in dict.fromkeys(depths or (1,)))
    return ROWS[rows or "all"]


def _others(against: str | None) -> list[Contestant]:
    known = peers()
    names = [name.strip() for name in against.split(",")] if against is not None else []
    for name in names:
        if name not in known:
            raise click.BadParameter(
                f"{name!r} is not one of {', '.join(known) or 'those known: there are none'}",
                param_hint="--against",
            )
    return [known[name] for name in dict.fromkeys(names)]


def _require_writable(name: str) -> None:
    """Before it is measured, not after."""
    folder = os.path.dirname(name) or "."
    if os.path.lexists(name):
        raise click.ClickException(f"{name} is there already and would be lost; name a new file")
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"{name}: cannot be written; name a file in a folder that can")


def _are_one(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def _run_on(cpu: int) -> None:
    try:
        os.sched_setaffinity(0, {cpu})
    except (OSError, OverflowError):
        allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        raise click.BadParameter(
            f"processor {cpu} may not be used; {allowed} may", param_hint="--cpu"
        ) from None


def _filled(path: str, size_bytes: int, destroy_data: bool) -> AbstractContextManager[Target]:
    try:
        is_device = stat.S_ISBLK(os.stat(path).st_mode)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    if is_device:
        return block_device(path, size_bytes, destroy_data=destroy_data)
    if destroy_data:
        raise click.UsageError(f"--destroy-data goes with a block device, and {path} is none")
    return scratch_file(path, size_bytes)


def _measured(target: Target, plan: Plan) -> Run:
    click.echo(
        f"{len(plan.contestants)} contestants, {len(plan.rows)} depths and jobs, {plan.rounds} "
        f"rounds and one for latencies: about {_duration(plan.about_s)}",
        err=True,
    )
    with click.progressbar(length=plan.turns, label="measuring", file=sys.stderr) as bar:
        return measure(target, plan, done=lambda: bar.update(1))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def _keep(run: Run, encoded: str, output: str | None, picture: str | None) -> None:
    try:
        if output is not None:
            Path(output).write_text(encoded, encoding="utf-8")
        if picture is not None:
            plot(run, picture)
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}") from None
