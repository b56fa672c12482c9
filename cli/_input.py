"""What commands read: reports and tables."""

from __future__ import annotations

import sys

import click

from fuaio.probe import MAX_BYTES, Report, ReportError, decode_report, escape


def read_report(name: str) -> Report:
    """Return the report in the file *name*; - is the standard input.

    Raises:
        click.ClickException: It cannot be read; the message names the file and the place.
    """
    if not name:
        raise click.ClickException(
            "the name of a report is empty; name a JSON file, or - for stdin"
        )
    try:
        return decode_report(read_bytes(name, MAX_BYTES))
    except OSError as error:
        raise click.ClickException(f"{escape(name)}: {error.strerror}") from None
    except ReportError as error:
        raise click.ClickException(f"{escape(name)}: {error}") from None


def read_bytes(name: str, most: int) -> bytes:
    """Return the bytes of the file *name*, or so many that it is known to have over *most*."""
    if name != "-":
        with open(name, "rb") as stream:
            return stream.read(most + 1)
    if sys.stdin is None:
        raise click.ClickException("-: there is no standard input")
    return sys.stdin.buffer.read(most + 1)
