"""Reports that commands read."""

from __future__ import annotations

import sys

import click

from fuaio.probe import MAX_BYTES, Report, ReportError, decode_report, escape


def read_report(name: str) -> Report:
    """Return the report in the file *name*; - is the standard input.

    Raises:
        click.ClickException: It cannot be read; the message names the file and the place.
    """
    try:
        return decode_report(_read(name))
    except OSError as error:
        raise click.ClickException(f"{escape(name)}: {error.strerror}") from None
    except ReportError as error:
        raise click.ClickException(f"{escape(name)}: {error}") from None


def _read(name: str) -> bytes:
    """Return the file's bytes, or so many that it is known to be too large."""
    if name != "-":
        with open(name, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    if sys.stdin is None:
        raise click.ClickException("-: there is no standard input")
    return sys.stdin.buffer.read(MAX_BYTES + 1)
