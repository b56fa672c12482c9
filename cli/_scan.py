"""fuaio scan: ask other headers and compilers than those that fuaio was built with."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import TypeVar, get_args

import click

from fuaio.cli._input import read_bytes
from fuaio.probe import FORMATS, escape
from fuaio.probe._columns import render_scan
from fuaio.probe._place import Kind, Place
from fuaio.probe._render import require_macro_prefix
from fuaio.probe._scan import Scan, ScanError, scan
from fuaio.probe._table import MAX_TABLE_BYTES, Row, TableError, read_table

ANSWERED, UNANSWERED = 0, 2
KINDS: tuple[Kind, ...] = get_args(Kind)
_Function = TypeVar("_Function", bound=Callable[..., int])


class _InOrder(click.Command):
    """Notes the places in the order of the command line, which click tells option by option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        left = {kind: iter(values.get(kind, ())) for kind in KINDS}
        ctx.obj = [
            Place(kind, next(left[kind]))
            for option in order
            for kind in KINDS
            if kind == option.name
        ]
        return super().parse_args(ctx, args)


def _place(kind: Kind, metavar: str, help_: str) -> Callable[[_Function], _Function]:
    return click.option(f"--{kind}", metavar=metavar, multiple=True, expose_value=False, help=help_)


@click.command(cls=_InOrder)
@_place("prefix", "DIR", "The headers and libraries in include and lib below DIR.")
@_place("sysroot", "DIR", "The root of another system, asked with $CC, else cc.")
@_place("cross", "FILE", "A cross file of Meson.")
@_place("cc", "CC", "A C compiler, with its arguments, and all that a build with it would find.")
@click.option(
    "--symbols",
    "tables",
    metavar="FILE",
    multiple=True,
    help="Ask for the symbols in this table (TOML; - is the standard input).",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="How to show it; macros are of one place.",
)
@click.option(
    "--macro-prefix",
    metavar="PREFIX",
    default="",
    help="Put before each macro's name (with --format macros); a C identifier.",
)
@click.pass_obj
def command(places: list[Place], tables: tuple[str, ...], format_: str, macro_prefix: str) -> int:
    """Tell which symbols the headers of each place have, and why not.

    A place is a prefix, a sysroot, a cross file or a compiler; each is a column, in the order
    given. Without one it is this system, with $CC, else cc. Nothing of a place is run.

    Exits with 0 if every place answered, with 2 if one could not be asked, or for a wrong
    question. Needs Meson.
    """
    places = places or [Place("cc", os.environ.get("CC") or "cc")]
    if len(tables) > 1:
        raise click.UsageError(f"--symbols names one table, not {len(tables)}; put them together")
    _require_macros(format_, macro_prefix, places)
    rows = _read_rows(tables[0]) if tables else None
    try:
        found = _run(places, rows)
    except ScanError as error:
        raise click.ClickException(str(error)) from None
    # UTF-8 in every locale, as a report.
    click.echo(render_scan(found, format_, macro_prefix).encode(), nl=False)
    errors = [(column.place, column.error) for column in found.places if column.error is not None]
    for place, why in errors:
        click.echo(f"fuaio scan: {escape(place)}: {escape(why)}", err=True)
    return UNANSWERED if errors else ANSWERED


def _require_macros(format_: str, macro_prefix: str, places: list[Place]) -> None:
    """Refuse what cannot be shown before anything is asked."""
    if format_ == "macros" and len(places) > 1:
        raise click.UsageError(f"--format macros tells of one place, not of {len(places)}")
    if macro_prefix and format_ != "macros":
        raise click.UsageError("--macro-prefix goes with --format macros only")
    try:
        require_macro_prefix(macro_prefix)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--macro-prefix") from None


def _read_rows(file: str) -> tuple[Row, ...]:
    if not file:
        raise click.ClickException("the name of the table is empty; name a file, or - for stdin")
    try:
        return read_table(read_bytes(file, MAX_TABLE_BYTES))
    except OSError as error:
        raise click.ClickException(f"{escape(file)}: {error.strerror}") from None
    except TableError as error:
        raise click.ClickException(f"{escape(file)}: {error}") from None


def _run(places: list[Place], rows: tuple[Row, ...] | None) -> Scan:
    """Scan so that whatever ends us, what was started and made goes first; Ctrl-C raises."""
    ended: list[signal.Signals] = []

    async def until_ended() -> Scan:
        task = asyncio.ensure_future(scan(places, rows))

        def end(number: signal.Signals) -> None:
            ended.append(number)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one of them
                asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await task

    try:
        return asyncio.run(until_ended())
    except asyncio.CancelledError:
        # The handlers are gone: it ends us as it would have.
        signal.raise_signal(ended[0])
        raise
