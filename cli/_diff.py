"""fuaio diff: answer by exit code whether a capability was lost between two reports."""

from __future__ import annotations

import click

from fuaio.cli._input import read_report
from fuaio.probe import ReportError, compare

SAME, LOST = 0, 1


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--section",
    "sections",
    metavar="SECTION",
    default=("build",),
    show_default=True,
    multiple=True,
    help="Compare this section; may be given several times.",
)
def command(before: str, after: str, sections: tuple[str, ...]) -> int:
    """Show what differs from report A to report B (JSON; one may be -).

    Exits with 1 if a capability was lost: yes in A, and no or unknown in B; with 2 if a report
    cannot be read; else with 0. A fact that the older report did not know is not-asked.
    """
    if before == after == "-":
        raise click.UsageError("only one report can be read from the standard input")
    reports = read_report(before), read_report(after)
    try:
        differences = compare(*reports, dict.fromkeys(sections))
    except ReportError as error:
        raise click.ClickException(str(error)) from None
    for difference in differences:
        click.echo(str(difference))
    return LOST if any(difference.change == "lost" for difference in differences) else SAME
