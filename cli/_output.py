"""What commands have in common: options, and where they write what they were asked to tell."""

from __future__ import annotations

import errno
import math
import sys

import click

from fuaio.probe import FORMATS

format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="How to show it.",
)


def require_number(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Refuse nan, which is in every range."""
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds", ctx, param)
    return value


def tell(text: str) -> None:
    """Write *text* as UTF-8, whatever the locale, since it may go into a file.

    For a command whose exit code alone is no answer.

    Raises:
        OSError: It cannot be written; EBADF if there is no standard output.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "the standard output is closed, so nothing can be told")
    click.echo(text.encode(), nl=False)
