"""What a scan can ask about: a prefix, a sysroot, a cross file, a compiler.

Facts about places: paths of people have blanks, quotes and letters that pkg-config and Meson cannot
take; an unpacked package's .pc says prefix=/usr; without a header in the place the compiler goes on
to that of the system, and without a library so does the linker; clang looks for its linker in a
sysroot, and runs it; Meson runs what it compiled, be it by a wrapper that a cross file names.

What this means here: a link with a plain name stands for the place; descriptions for pkg-config are
ours; headers and libraries are named by their whole path; clang is told its linker; every place is
asked as a cross build without a wrapper.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from fuaio.probe._child import run_child
from fuaio.probe._compiler import PlaceError, ask_compiler, split_command
from fuaio.probe._table import Row, meson_table
from fuaio.probe._tree import HEADERS, LIBRARIES, Tree

Kind = Literal["prefix", "sysroot", "cross", "cc"]
# The sections of a cross file.
Sections = dict[str, dict[str, bool | str | list[str]]]

# What the caller builds with says nothing about a place that was named. CC is the compiler for a
# prefix and a sysroot, and is shown.
_OF_THE_CALLER = re.compile(
    r"(C|CPP|LD)FLAGS|CC_LD|LD|AR|\w+_FOR_BUILD|PKG_CONFIG\w*|C_INCLUDE_PATH|CPATH|LIBRARY_PATH"
    r"|COMPILER_PATH|GCC_EXEC_PREFIX|LD_RUN_PATH|CCC_OVERRIDE_OPTIONS|CC"
)


class Place(NamedTuple):
    """A place, as the caller gave it."""

    kind: Kind
    given: str

    @property
    def label(self) -> str:
        """What its column is called."""
        return f"{self.kind}:{self.given}"


class Question(NamedTuple):
    """What Meson gets: its cross files, the probe's table, and the environment."""

    cross_files: list[Path]
    table: str
    environment: dict[str, str]


async def prepare(
    place: Place, rows: tuple[Row, ...] | None, probe_table: str, folder: Path
) -> Question:
    """Write down in *folder* what asks *place* for *rows*, or else for the probe's own table.

    Raises:
        PlaceError: It cannot be asked.
    """
    environment = _environment(place, folder)
    table = probe_table if rows is None else meson_table(rows)
    cross_files = []
    # The name of no program: so that a wrapper which the caller's file has is not run either.
    sections: Sections = {
        "binaries": {"exe_wrapper": "fuaio-scan-runs-nothing"},
        "properties": {"needs_exe_wrapper": True},
    }
    if place.kind == "cross":
        cross_files.append(_require(place.given, stat.S_ISREG, "file", os.R_OK))
    elif place.kind == "cc":
        await _describe_compiler(place.given, sections, folder, environment)
    else:
        table += await _describe_tree(place, rows, sections, folder, environment)
    ours = folder / "ours.ini"
    ours.write_text(_cross_file(sections))
    return Question([*cross_files, ours], table, environment)


async def _describe_compiler(
    given: str, sections: Sections, folder: Path, environment: Mapping[str, str]
) -> None:
    """Add the compiler *given*, and the machine that it says it compiles for."""
    compiler = await ask_compiler(split_command(given), folder, environment)
    sections["binaries"]["c"] = list(compiler.command)
    sections["binaries"] |= _pkg_config()
    sections["host_machine"] = {**compiler.host_machine()}


async def _describe_tree(
    place: Place,
    rows: tuple[Row, ...] | None,
    sections: Sections,
    folder: Path,
    environment: Mapping[str, str],
) -> str:
    """Add the prefix or sysroot; return the line of the table that names its headers."""
    # What is in a folder that may be passed through is named, not looked for.
    given = _require(place.given, stat.S_ISDIR, "folder", os.X_OK)
    if rows is None and not _pkg_config():
        raise PlaceError("there is no pkg-config to ask with (Debian: pkgconf)")
    link = folder / "place"
    link.symlink_to(given)
    command = split_command(os.environ.get("CC") or "cc")
    if place.kind == "sysroot":
        command = await _in_sysroot(command, link, folder, environment)
    compiler = await ask_compiler(command, folder, environment)
    sections["binaries"] |= {"c": list(compiler.command), **_pkg_config()}
    sections["host_machine"] = {**compiler.host_machine()}

    tree = Tree(link, compiler.folder, is_root=place.kind == "sysroot")
    headers = HEADERS if rows is None else tuple(dict.fromkeys(row.header for row in rows))
    if not tree.has_any(headers):
        raise PlaceError(_no_header(place, tree, headers))
    described = folder / "pkgconfig"
    described.mkdir()
    for library in LIBRARIES.values():
        (described / f"{library}.pc").write_text(tree.description(library))
    sections["properties"]["pkg_config_libdir"] = [str(described)]
    if place.kind == "prefix":
        # For what its headers include.
        arguments = [
            word
            for path in tree.includes
            if os.path.isdir(path)
            for word in ("-isystem", str(path))
        ]
        sections["built-in options"] = {"c_args": arguments}
    return tree.paths(headers, is_own=rows is not None)


async def _in_sysroot(
    command: tuple[str, ...], link: Path, folder: Path, environment: Mapping[str, str]
) -> tuple[str, ...]:
    """Return *command* for the sysroot *link*, so that it runs no program of that."""
    alone = await ask_compiler(command, folder, environment)
    command = (*command, f"--sysroot={link}")
    if not alone.is_clang:
        return command
    asked = [*alone.command, "-print-prog-name=ld"]
    linker = shutil.which((await run_child(asked, folder, environment))[1].strip())
    if linker is None:
        raise PlaceError("there is no linker ld that can be run (Debian: binutils)")
    return (*command, f"--ld-path={linker}", "-Qunused-arguments")


def _environment(place: Place, folder: Path) -> dict[str, str]:
    """Return what compiler and Meson get; for a compiler alone, what a build with it would get."""
    temporary = folder / "tmp"
    temporary.mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if place.kind == "cc" or not _OF_THE_CALLER.fullmatch(name)
    }
    # What a compiler leaves behind when it is killed goes with the folder.
    return {**kept, "LC_ALL": "C.UTF-8", "LANGUAGE": "", "TMPDIR": str(temporary)}


def _pkg_config() -> Mapping[str, list[str]]:
    words = (os.environ.get("PKG_CONFIG") or "pkg-config").split()
    return {"pkg-config": words} if words and shutil.which(words[0]) else {}


def _require(given: str, is_kind: Callable[[int], bool], kind: str, needed: int) -> Path:
    if not given:
        raise PlaceError(f"the name of the {kind} is empty")
    try:
        mode = os.stat(given).st_mode
    except OSError as error:
        raise PlaceError(f"{given}: {error.strerror}") from None
    if not is_kind(mode):
        raise PlaceError(f"{given} is not a {kind}")
    if not os.access(given, needed):
        raise PlaceError(f"{given}: {os.strerror(errno.EACCES)}")
    return Path(given).absolute()


def _no_header(place: Place, tree: Tree, headers: tuple[str, ...]) -> str:
    """Say where was looked, and where it might be meant."""
    given = Path(place.given)
    looked = " or ".join(str(given / path.relative_to(tree.root)) for path in tree.includes)
    names = ", ".join(headers[:3]) + (", ..." if len(headers) > 3 else "")
    hints = [
        f"did you mean --{place.kind} {near}?"
        for near in (given / "usr", given.absolute().parent)
        if _is_meant(Tree(near, tree.machine, is_root=tree.is_root), headers)
    ]
    advice = (
        hints[0]
        if hints
        else f"name the folder in which {tree.includes[0].relative_to(tree.root)} lies"
    )
    return f"none of {names} is in {looked}; {advice}"


def _is_meant(tree: Tree, headers: tuple[str, ...]) -> bool:
    try:
        return tree.has_any(headers)
    except PlaceError:
        return False


def _cross_file(sections: Sections) -> str:
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {_literal(value)}" for key, value in values.items())]
    return "\n".join([*lines, ""])


def _literal(value: bool | str | list[str]) -> str:
    """Return *value* in Meson's language, whose texts have Python's escapes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return "'" + value.encode("unicode_escape").decode().replace("'", "\\'") + "'"
