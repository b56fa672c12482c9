"""Learn the facts of a machine and put them into one report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from fuaio.probe._known import SECTIONS
from fuaio.probe._record import SCHEMA_VERSION, Fact, Report


def gather(
    sections: Iterable[str] = SECTIONS, root: Path = Path("/"), target: str | None = None
) -> Report:
    """Return a report of *sections*, each with every fact that is known of.

    Nothing is written anywhere. The kernel section makes a ring and an AIO context for a moment;
    the build section is read from the installed package and needs no core.

    Args:
        sections: Some of `SECTIONS`, in any order; there is no section target without *target*,
            and none trial or observation, for which `fuaio.bench` writes.
        root: Where /proc and /sys lie, for recorded trees.
        target: A file, a folder or a block device for the section target.

    Raises:
        KeyError: A section is not one of `SECTIONS`.
        TargetError: *target* is no file, folder or block device.
    """
    from fuaio.probe._build import BUILD

    build = msgspec.convert(BUILD, Report)
    wanted = set(sections)
    if not wanted <= set(SECTIONS):
        raise KeyError(min(wanted - set(SECTIONS)))
    wanted -= {"trial", "observation"}
    if target is None:
        wanted.discard("target")
    found = {name: _read(name, build, root, target) for name in SECTIONS if name in wanted}
    return Report(SCHEMA_VERSION, build.fuaio_version, found)


def _read(section: str, build: Report, root: Path, target: str | None) -> list[Fact]:
    """Each reader is imported when it is asked for, so that `fuaio check NAME` starts quickly."""
    if section == "build":
        return build.sections["build"]
    if section == "library":
        from fuaio.probe._library import read_library

        return read_library(root)
    if section == "kernel":
        from fuaio.probe._kernel import read_kernel

        return read_kernel(root, {fact.name: fact for fact in build.sections["build"]})
    if target is not None and section == "target":
        from fuaio.probe._target import read_target

        return read_target(root, target)
    from fuaio.probe._policy import read_policy

    return read_policy(root)
