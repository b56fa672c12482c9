"""fuaio prepare: make a file whose blocks are written."""

from __future__ import annotations

import os
import signal
import sys
from io import StringIO

import click

from fuaio.aio import prepare
from fuaio.cli._size import Size


@click.command()
@click.argument("path")
@click.option("--size", "size_bytes", type=Size(), required=True, help="How long: 64M, 1G.")
def command(path: str, size_bytes: int) -> int:
    """Make the file PATH, zeros written into all of it, durable with its folder.

    Only the overwrite of a block that was written before can be FUA on a file system; in this file
    every write is one. A PATH that exists is refused.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # half a file is taken away
    try:
        # On standard error, and seen on a terminal alone.
        with click.progressbar(
            length=size_bytes, label="writing", file=sys.stderr or StringIO()
        ) as bar:
            prepare(path, size_bytes, progress=bar.update)
    except FileExistsError:
        raise click.ClickException(
            f"{path}: there is one already, and it is left alone; choose another name"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path}: {os.strerror(error.errno or 0)}") from None
    return 0
