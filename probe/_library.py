"""The library section: which libaio and liburing the process has loaded with the core.

The helpers are inline, so what they can do was settled by the header at build time; this
section tells which shared objects stand behind them now, and whether they came with the package:
then the build section tells of the headers of whoever made the wheel.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fuaio.probe._core import core_file, load_core
from fuaio.probe._elf import SharedObject, read_shared_object
from fuaio.probe._known import make_fact
from fuaio.probe._proc import read_text, under
from fuaio.probe._record import Fact

_MAPS = "/proc/self/maps"
_SUFFIXES = ("_file", "_origin", "_soname", "_version")
# Where auditwheel puts the libraries of a wheel: beside the package.
_GRAFTED = Path(os.path.realpath(__file__)).parents[2] / "fuaio.libs"
_NOT_HERE = "build tells of the headers that the wheel was built with, not of this system's"


def read_library(root: Path) -> list[Fact]:
    """Return the facts of the library section as the maps of this process below *root* tell."""
    failure = load_core()
    if failure:
        core = make_fact(("library", "core"), "no", "import-failed", detail=failure)
        reason = "core-not-loaded"
        return [core, *_unknown("libaio", reason), *_unknown("liburing", reason)]
    core = make_fact(("library", "core"), "yes", "ok", source="import")
    return [core, *_loaded(root, "libaio"), *_loaded(root, "liburing")]


def _unknown(library: str, reason: str, detail: str = "", source: str = "") -> list[Fact]:
    return [
        make_fact(("library", library + suffix), "unknown", reason, source=source, detail=detail)
        for suffix in _SUFFIXES
    ]


def _loaded(root: Path, library: str) -> list[Fact]:
    maps = read_text(root, _MAPS)
    if maps.text is None:
        return _unknown(library, maps.reason, maps.detail, _MAPS)
    paths = _mapped(maps.text, library)
    if not paths:
        return _unknown(library, "not-loaded", "not linked, or linked statically", _MAPS)
    path = paths[0] if len(paths) == 1 else _linked(root, paths)
    file = make_fact(("library", f"{library}_file"), "yes", "ok", value=path, source=_MAPS)
    known = [file, _origin(library, path)]
    try:
        found = read_shared_object(under(root, path))
    except FileNotFoundError:
        return [*known, *_unknown(library, "deleted", "replaced since it was loaded", path)[2:]]
    except (OSError, ValueError) as error:
        return [*known, *_unknown(library, "not-readable", str(error), path)[2:]]
    return [*known, _soname(library, path, found), _version(library, path, found)]


def _mapped(maps: str, library: str) -> list[str]:
    """Return the paths of *library*, each once; a wheel's own copy is named lib-<hash>.so."""
    pattern = re.compile(re.escape(library) + r"(-[0-9a-f]+)?\.so(\.|$)")
    fields = (line.split(maxsplit=5) for line in maps.splitlines())
    names = [field[5] for field in fields if len(field) == 6]
    return list(
        dict.fromkeys(
            name.removesuffix(" (deleted)")
            for name in names
            if pattern.match(name.rpartition("/")[2])
        )
    )


def _linked(root: Path, paths: list[str]) -> str:
    """Return the one that the core is linked with: others of a process may load their own."""
    try:
        needed = read_shared_object(Path(core_file())).needed
    except (OSError, ValueError):
        return paths[0]
    for path in paths:
        try:
            if read_shared_object(under(root, path)).soname in needed:
                return path
        except (OSError, ValueError):
            continue
    return paths[0]


def _origin(library: str, path: str) -> Fact:
    key = ("library", f"{library}_origin")
    if Path(path).parent != _GRAFTED:
        return make_fact(key, "yes", "ok", value="system", source=path)
    return make_fact(key, "yes", "ok", value="wheel", source=path, detail=_NOT_HERE)


def _soname(library: str, path: str, found: SharedObject) -> Fact:
    key = ("library", f"{library}_soname")
    if not found.soname:
        return make_fact(key, "unknown", "not-there", source=path, detail="it has no DT_SONAME")
    return make_fact(key, "yes", "ok", value=found.soname, source=path)


def _version(library: str, path: str, found: SharedObject) -> Fact:
    key = ("library", f"{library}_version")
    bounds = _libaio_bounds(found) if library == "libaio" else _liburing_bounds(found)
    if not bounds:
        detail = "it defines no symbol version that tells"
        return make_fact(key, "unknown", "not-there", source=path, detail=detail)
    return make_fact(key, "yes", "ok", value=bounds, source=path)


def _libaio_bounds(found: SharedObject) -> str:
    """LIBAIO_0.5 came with io_pgetevents in 0.3.112; the names are not release numbers."""
    if "LIBAIO_0.5" in found.versions:
        return ">=0.3.112"
    return "<0.3.112" if "LIBAIO_0.4" in found.versions else ""


def _liburing_bounds(found: SharedObject) -> str:
    """A release that adds a symbol adds LIBURING_<release>; not every release does."""
    releases = [
        (int(number[1]), int(number[2]))
        for name in found.versions
        if (number := re.fullmatch(r"LIBURING_([0-9]{1,4})\.([0-9]{1,4})", name))
    ]
    return f">={max(releases)[0]}.{max(releases)[1]}" if releases else ""
