"""The sections of a report for which fuaio writes: a trial, and what it observes."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fuaio.probe import Report


def add_trial(report: Report, path: str, *, seconds: float = 0.2, destroy_data: bool) -> None:
    """Try durable writes out at *path*; a terminal's standard error has a bar meanwhile.

    Raises:
        TargetError: It may not be written to.
    """
    from fuaio.bench import try_out
    from fuaio.bench._trial import turns

    with ExitStack() as stack:
        done = None
        if sys.stderr is not None and sys.stderr.isatty():
            bar = click.progressbar(length=turns(), label="writing", file=sys.stderr)
            done = partial(stack.enter_context(bar).update, 1)
        report.sections["trial"] = try_out(
            path, seconds=seconds, destroy_data=destroy_data, done=done
        )


def add_observation(report: Report, path: str, *, destroy_data: bool) -> None:
    """Observe durable writes at *path*.

    Raises:
        TargetError: It may not be written to.
    """
    from fuaio.bench import observe

    report.sections["observation"] = observe(path, destroy_data=destroy_data)
