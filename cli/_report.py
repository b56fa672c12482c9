"""fuaio report: tell every fact."""

from __future__ import annotations

from pathlib import Path

import click

from fuaio.cli._output import format_option, tell
from fuaio.cli._writing import add_observation, add_trial
from fuaio.probe import SECTIONS, TargetError, escape, gather, known_facts, render


def _meanings() -> str:
    """Return the table of facts for the help, one line each."""
    facts = [known for section in SECTIONS for known in known_facts(section)]
    return "\n".join(f"  {fact.section}.{fact.name}: {fact.meaning}" for fact in facts)


@click.command(epilog=f"\b\nFacts:\n{_meanings()}")
@format_option
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
@click.option(
    "--sysroot",
    metavar="FOLDER",
    help="Look PATH up in the /proc and /sys of another machine, recorded below this folder.",
)
@click.option(
    "--observe",
    is_flag=True,
    help="Write durably in PATH's folder, and tell what its disks were asked for each time.",
)
@click.option(
    "--trial",
    is_flag=True,
    help="Write durably in PATH's folder, and tell what it costs: as `fuaio trial` does.",
)
@click.option(
    "--destroy-data",
    is_flag=True,
    help="Let these two overwrite the start of the block device PATH.",
)
@click.argument("path", required=False)
def command(
    format_: str,
    macro_prefix: str,
    sections: tuple[str, ...],
    sysroot: str | None,
    observe: bool,
    trial: bool,
    destroy_data: bool,
    path: str | None,
) -> int:
    """Tell what was built, what is loaded, and what this kernel and its policy allow.

    With PATH, a file, a folder or a block device, also what a durable write there comes down to:
    one FUA write (native), a write and a flush (emulated), no flush needed (not_needed), nothing
    that survives a power cut (none), or unknown; and which layer decides that.

    Changes nothing, but for --observe and --trial: a ring, an AIO context and a memory file are
    made for a moment. These two write to a scratch file of their own. As root --observe sees
    each request that goes to the disks by the kernel's tracepoints, else it counts flushes alone.
    """
    if macro_prefix and format_ != "macros":
        raise click.UsageError("--macro-prefix goes with --format macros only")
    writes = trial or observe
    if path is None and ("target" in sections or sysroot is not None or writes):
        raise click.UsageError("name the PATH that the section target is to be about")
    for section, is_asked in (("observation", observe), ("trial", trial)):
        if section in sections and not is_asked:
            option = "--observe" if section == "observation" else "--trial"
            raise click.UsageError(f"the section {section} comes with {option}, which writes")
    if destroy_data and not writes:
        raise click.UsageError("--destroy-data goes with --observe or --trial, which write")
    if sysroot is not None:
        if writes:
            raise click.UsageError("--observe and --trial write here; --sysroot is elsewhere")
        sections = _only_the_target(sections, sysroot)
    try:
        report = gather(sections or SECTIONS, Path(sysroot or "/"), path)
        if trial and path is not None:
            add_trial(report, path, destroy_data=destroy_data)
        if observe and path is not None:
            add_observation(report, path, destroy_data=destroy_data)
        text = render(report, format_, macro_prefix)
    except TargetError as error:
        raise click.BadParameter(escape(str(error)), param_hint="PATH") from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--macro-prefix") from None
    tell(text)
    return 0


def _only_the_target(sections: tuple[str, ...], sysroot: str) -> tuple[str, ...]:
    """A recorded tree answers for the target; the rest is of this machine."""
    if set(sections) - {"target"}:
        raise click.UsageError("--sysroot answers for the section target only")
    if not Path(sysroot, "proc/self/mountinfo").is_file():
        raise click.BadParameter(
            f"{escape(sysroot)} has no proc/self/mountinfo, so no machine was recorded there",
            param_hint="--sysroot",
        )
    return ("target",)
