"""The group of commands, each imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from fuaio import __version__

USAGE = 2

# A command's name, and the file of the same name that defines it as `command`.
COMMANDS = ("bench", "check", "diff", "prepare", "report", "scan", "trial")


class _Commands(click.Group):
    """Imports the file of a command only when it is asked for: a check starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"fuaio.cli._{cmd_name}").command
        return command


@click.group(cls=_Commands, no_args_is_help=False)
@click.version_option(__version__, prog_name="fuaio", message="%(prog)s %(version)s")
def _cli() -> None:
    """Can this machine make a single write durable, and if not, which layer says no?"""


def run(arguments: list[str]) -> int:
    """Run the command that *arguments* name and return its exit code.

    click's own main() is not used: it turns a broken pipe and Ctrl-C into exit code 1.
    """
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # an answer fits every locale
    try:
        with _cli.make_context("fuaio", list(arguments)) as context:
            code: int = _cli.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        _complain(error)
        return USAGE
    return code


def _complain(error: click.ClickException) -> None:
    from fuaio.probe import escape

    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context is not None else "fuaio"
    message = " ".join(error.format_message().split())
    click.echo(f"{command}: {escape(message)}", err=True)
