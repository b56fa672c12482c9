"""Header prefixes that a test changes under a build's feet."""

from __future__ import annotations

import re
import shutil
from pathlib import Path


class Prefixes:
    """Header prefixes of one test, which may change them."""

    def __init__(self, made: Path, folder: Path) -> None:
        self._made = made
        self.folder = folder

    def libaio(self, kind: str) -> Path:
        """Put the libaio of that *kind* in place, instead of the one that was there."""
        return self._put("libaio", kind)

    def liburing(self, kind: str) -> Path:
        """Put the liburing of that *kind* in place, instead of the one that was there."""
        return self._put("liburing", kind)

    def env(self) -> dict[str, str]:
        """Give the variables that make a build use what is in place."""
        return {
            "CFLAGS": f"-I{self.folder}/libaio/include",
            "LDFLAGS": f"-L{self.folder}/libaio/lib",
            "PKG_CONFIG_PATH": f"{self.folder}/liburing/lib/pkgconfig",
        }

    def set_liburing_version(self, version: str) -> None:
        """Let pkg-config and the header say that liburing is of *version*."""
        description = self.folder / "liburing/lib/pkgconfig/liburing.pc"
        text = description.read_text()
        description.write_text(re.sub(r"(?m)^Version:.*", f"Version: {version}", text))
        for header in (self.folder / "liburing/include").rglob("*.h"):
            text = header.read_text()
            header.write_text(re.sub(r"(?m)^#define IO_URING_VERSION_M.*\n", "", text))

    def _put(self, library: str, kind: str) -> Path:
        source, target = self._made / f"{library}-{kind}", self.folder / library
        shutil.rmtree(target, ignore_errors=True)
        # Times are not kept: a header that was put in place is newer than what was built.
        shutil.copytree(source, target, symlinks=True, copy_function=shutil.copyfile)
        description = target / "lib/pkgconfig/liburing.pc"
        if description.exists():
            text = description.read_text()
            description.write_text(text.replace(str(source), str(target)))
        return target
