"""fuaio trial: what durable writes at a path cost, learnt by doing."""

from __future__ import annotations

import click

from fuaio.cli._output import format_option, require_number, tell
from fuaio.cli._writing import add_observation, add_trial
from fuaio.probe import TargetError, escape, gather, render


@click.command()
@format_option
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 60),
    callback=require_number,
    default=0.2,
    show_default=True,
    help="How long each method writes, for its cost and again for its percentiles.",
)
@click.option("--observe", is_flag=True, help="Tell also what the disks were asked for each time.")
@click.option("--destroy-data", is_flag=True, help="Overwrite the start of the block device PATH.")
@click.argument("path")
def command(format_: str, seconds: float, observe: bool, destroy_data: bool, path: str) -> int:
    """Write durably at PATH for a few seconds, and tell what each method costs.

    PATH is a folder, in which a scratch file is made for that time, or a file, which is left alone
    and whose folder is taken; or with --destroy-data a block device that nothing uses, whose first
    MiB is overwritten. Appends take no more than 1 GiB, or a tenth of the room that is free.
    `fuaio bench` measures longer and compares.
    """
    report = gather([])
    try:
        add_trial(report, path, seconds=seconds, destroy_data=destroy_data)
        if observe:
            add_observation(report, path, destroy_data=destroy_data)
    except TargetError as error:
        raise click.BadParameter(escape(str(error)), param_hint="PATH") from None
    tell(render(report, format_))
    return 0
