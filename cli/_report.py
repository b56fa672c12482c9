"""fuaio report: tell every fact."""

from __future__ import annotations

import click

from fuaio.cli._output import tell
from fuaio.probe import FORMATS, SECTIONS, gather, known_facts, render


def _meanings() -> str:
    """Return the table of facts for the help, one line each."""
    facts = [known for section in SECTIONS for known in known_facts(section)]
    return "\n".join(f"  {fact.section}.{fact.name}: {fact.meaning}" for fact in facts)


@click.command(epilog=f"\b\nFacts:\n{_meanings()}")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="How to show it.",
)
@click.option(
    "--macro-prefix",
    metavar="PREFIX",
    default="",
    help="Put before each macro's name (with --format macros); a C identifier.",
)
@click.option(
    "--section",
    "sections",
    type=click.Choice(SECTIONS),
    multiple=True,
    help="Only this section; may be given several times.",
)
def command(format_: str, macro_prefix: str, sections: tuple[str, ...]) -> int:
    """Tell what was built, what is loaded, and what this kernel and its policy allow.

    Changes nothing: a ring, an AIO context and a memory file are made for a moment.
    """
    if macro_prefix and format_ != "macros":
        raise click.UsageError("--macro-prefix goes with --format macros only")
    try:
        text = render(gather(sections or SECTIONS), format_, macro_prefix)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--macro-prefix") from None
    tell(text)
    return 0
