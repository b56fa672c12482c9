"""Where commands write what they were asked to tell."""

from __future__ import annotations

import errno
import sys

import click


def tell(text: str) -> None:
    """Write *text* as UTF-8, whatever the locale, since it may go into a file.

    For a command whose exit code alone is no answer.

    Raises:
        OSError: It cannot be written; EBADF if there is no standard output.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "the standard output is closed, so nothing can be told")
    click.echo(text.encode(), nl=False)
