"""Where commands write what they were asked to tell, and in which form."""

from __future__ import annotations

import errno
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


def tell(text: str) -> None:
    """Write *text* as UTF-8, whatever the locale, since it may go into a file.

    For a command whose exit code alone is no answer.

    Raises:
        OSError: It cannot be written; EBADF if there is no standard output.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "the standard output is closed, so nothing can be told")
    click.echo(text.encode(), nl=False)
