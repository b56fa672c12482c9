"""The folders of a prefix or a sysroot: where its headers and libraries are."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from fuaio.probe._compiler import PlaceError

# The headers of the probe's own table; those with a library are asked of the place and no other.
LIBRARIES = {"libaio.h": "libaio", "liburing.h": "liburing"}
HEADERS = (*LIBRARIES, "sys/uio.h")

_VERSION = re.compile(r"(?m)^Version:[ \t]*([0-9A-Za-z.+~_-]{1,40})[ \t]*$")


class Tree:
    """A prefix, or with *is_root* a sysroot, at *root*.

    Attributes:
        root: Its folder.
        machine: The name of the folders that a system for several machines has in each of these.
        is_root: Whether it is the root of a system, so that its links start there.
        includes: Where its headers are looked for.
    """

    def __init__(self, root: Path, machine: str, *, is_root: bool) -> None:
        self.root = root
        self.machine = machine
        self.is_root = is_root
        include = root / "usr/include" if is_root else root / "include"
        self.includes = [include, include / machine]
        self._libraries = [
            root / above / name
            for above in (["usr", ""] if is_root else [""])
            for name in (f"lib/{machine}", "lib64", "lib")
        ]

    def has_any(self, headers: Iterable[str]) -> bool:
        """Whether one of *headers* is there.

        Raises:
            PlaceError: It may not be known, as everywhere here.
        """
        return any(self._find(self.includes, header) for header in headers)

    def paths(self, headers: Iterable[str], *, is_own: bool) -> str:
        """Return the line of the probe's table that says where each header is.

        One that is missing is named where it should be, or the system's would answer for it. Left
        to the compiler are libc's headers of the probe's table, which are no matter of the place,
        and what a sysroot lacks of the caller's *own* table, which may be the compiler's.
        """
        pinned = []
        for header in headers:
            is_strict = not self.is_root if is_own else header in LIBRARIES
            path = self._find(self.includes, header) if is_own or is_strict else None
            if path is None and is_strict:
                path = self.includes[0] / header
            if path is not None:
                pinned.append(f"'{header}': '{path}'")
        return f"paths = {{{', '.join(pinned)}}}\n"

    def description(self, library: str) -> str:
        """Return a .pc with the place's version, but not its paths, which may be another's.

        As for the linker, a link that leads nowhere is no library, and the archive is taken.
        Where there is none either, a path that does not exist is the answer: nothing links.
        """
        files = (self._find(self._libraries, library + end) for end in (".so", ".a"))
        path = next(filter(None, files), self._libraries[-1] / f"{library}.so")
        share = self.root / ("usr/share" if self.is_root else "share")
        folders = [folder / "pkgconfig" for folder in (*self._libraries, share)]
        told = self._find(folders, f"{library}.pc")
        version = _version(self._follow(told)) if told is not None else ""
        path = self._follow(path)
        return f"Name: {library}\nDescription: of a scan\nVersion: {version}\nLibs: {path}\n"

    def _find(self, folders: Iterable[Path], name: str) -> Path | None:
        return next((path for path in (at / name for at in folders) if self._has(path)), None)

    def _has(self, path: Path) -> bool:
        """Whether *path* is a file; what may not be looked at, or read, is not missing."""
        at = self._follow(path)
        try:
            if not stat.S_ISREG(os.stat(at).st_mode):
                return False
        except PermissionError:
            closed = (up for up in reversed(at.parents) if not os.access(up, os.X_OK))
            raise PlaceError(_refused(next(closed, path))) from None
        except OSError:
            return False
        if not os.access(at, os.R_OK):
            raise PlaceError(_refused(path))
        return True

    def _follow(self, path: Path) -> Path:
        """Follow a sysroot's links as the system would that it is the root of."""
        for _ in range(8):
            if not (self.is_root and os.path.islink(path)):
                break
            target = os.readlink(path)
            path = self.root / target[1:] if target[0] == "/" else path.parent / target
        return path


def _refused(path: Path) -> str:
    return f"{path}: {os.strerror(errno.EACCES)}"


def _version(description: Path) -> str:
    try:
        with description.open("rb") as stream:
            told = _VERSION.search(stream.read(64 * 1024).decode(errors="replace"))
    except OSError:
        return ""
    return told[1] if told is not None else ""
