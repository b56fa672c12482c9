"""fuaio check: answer requirements by exit code."""

from __future__ import annotations

import click

from fuaio.cli._input import read_report
from fuaio.probe import (
    SECTIONS,
    Fact,
    Outcome,
    Requirement,
    RequirementError,
    TargetError,
    escape,
    gather,
    known_facts,
    parse_requirement,
)

MET, UNMET, UNDECIDABLE, SKIPPED = 0, 1, 3, 77


def _names() -> str:
    """Return the facts' names for the help, a paragraph for each section."""
    return "\n\n".join(
        f"Names in {section}: {', '.join(fact.name for fact in known_facts(section))}."
        for section in SECTIONS
    )


@click.command(epilog=_names())
@click.argument("texts", metavar="REQ...", nargs=-1, required=True)
@click.option(
    "--report",
    "file",
    metavar="FILE",
    help="Ask this saved report (JSON; - is the standard input), not this machine.",
)
@click.option("--skippable", is_flag=True, help=f"Exit with {SKIPPED} instead of {UNDECIDABLE}.")
def command(texts: tuple[str, ...], file: str | None, skippable: bool) -> int:
    """Ask whether requirements are met, and say which fact decided each.

    \b
    REQ is one of
      NAME or SECTION.NAME              a fact that is yes: laio_has_fua
      [build.|library.]NAME SPECIFIERS  a version: 'liburing>=2.2'
      engine:NAME                       an engine that works here: engine:io_uring
      fua:PATH=VERDICT[,VERDICT]        what a durable write on PATH comes down to

    Exits with 0 if all are met, 1 if one is definitely not, 2 if a requirement or the report
    cannot be understood, else 3: one is undecidable.
    """
    try:
        outcomes = _decide([parse_requirement(text) for text in texts], file)
    except RequirementError as error:
        raise click.UsageError(str(error)) from None
    for text, outcome in zip(texts, outcomes, strict=True):
        click.echo(f"{outcome.decision:<11} {escape(text)}: {outcome.why}")
    decisions = {outcome.decision for outcome in outcomes}
    if "unmet" in decisions:
        return UNMET
    if "undecidable" in decisions:
        return SKIPPED if skippable else UNDECIDABLE
    return MET


def _decide(requirements: list[Requirement], file: str | None) -> list[Outcome]:
    """Ask the report *file*, or this machine for no more than the sections that decide."""
    if file is not None:
        facts = read_report(file).facts()
        return [requirement.decide(facts) for requirement in requirements]
    keys = [key for requirement in requirements for key in requirement.asks()]
    facts = gather({section for section, _ in keys}).facts()
    return [_decide_here(requirement, facts) for requirement in requirements]


def _decide_here(requirement: Requirement, facts: dict[tuple[str, str], Fact]) -> Outcome:
    """Each requirement may ask about a path of its own."""
    if requirement.target is None:
        return requirement.decide(facts)
    try:
        return requirement.decide(gather(["target"], target=requirement.target).facts())
    except TargetError as error:
        return Outcome("undecidable", f"target = unknown (not-there): {escape(str(error))}")
