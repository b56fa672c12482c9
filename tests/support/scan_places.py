"""Places for scans, made of this system's headers, and what a scan says of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import COMMAND
from meson_runs import OF_THE_CALLER, SOURCE, succeed

KINDS = ("genuine", "ablated", "broken")
# A symbol of the system's own headers, and one of each library's.
SYSTEM, LIBAIO, LIBURING = "pwritev2", "io_prep_pwritev2", "io_uring_prep_writev2"


class Maker:
    """Makes prefixes and sysroots in *folder* of what ci/prefixes made in *made*."""

    def __init__(self, made: Path, folder: Path) -> None:
        self._made = made
        self.folder = folder

    def prefix(self, name: str, *parts: str) -> Path:
        """Put parts such as ``liburing-ablated`` together as one prefix."""
        target = self.folder / name
        for part in parts:
            shutil.copytree(self._made / part, target, symlinks=True, dirs_exist_ok=True)
        return target

    def sysroot(self, name: str, *parts: str) -> Path:
        """Make the root of a system that has all of this one but its libaio and liburing."""
        root = self.folder / name
        include = root / "usr/include"
        include.mkdir(parents=True)
        for entry in Path("/usr/include").iterdir():
            if entry.name not in ("libaio.h", "liburing.h", "liburing"):
                (include / entry.name).symlink_to(entry)
        for folder in (Path("/", name) for name in ("lib", "lib64", "usr/lib", "usr/lib64")):
            if folder.is_dir():
                # Where lib is usr/lib, it is so in the sysroot.
                target = folder.readlink() if folder.is_symlink() else folder
                (root / folder.relative_to("/")).symlink_to(target)
        for part in parts:
            shutil.copytree(self._made / part / "include", include, dirs_exist_ok=True)
        return root


def make_parts(folder: Path) -> Path:
    """Make all that `Maker` puts together."""
    parts = [f"{library}-{kind}" for library in ("libaio", "liburing") for kind in KINDS]
    succeed(SOURCE / "ci" / "prefixes", "make", *parts, env={"FUAIO_PREFIXES": str(folder)})
    return folder


def environment(**changed: str) -> dict[str, str]:
    """Give the environment without what the caller builds with."""
    kept = {key: value for key, value in os.environ.items() if key not in (*OF_THE_CALLER, "CC")}
    return {**kept, **changed}


@dataclass(frozen=True)
class Scanned:
    """What one scan said."""

    code: int
    stdout: str
    stderr: str

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        """Give what JSON says of each place."""
        return {column["place"]: column for column in json.loads(self.stdout)["places"]}

    def fact(self, place: str, name: str) -> dict[str, Any]:
        """Give a fact of one place."""
        facts = self.columns[place]["report"]["sections"]["build"]
        (found,) = [fact for fact in facts if fact["name"] == name]
        return dict(found)

    def of(self, place: str, name: str) -> str:
        """Give state and reason of a fact of one place, as ``"no symbol-missing"``."""
        fact = self.fact(place, name)
        return f"{fact['state']} {fact['reason']}"


def run_scan(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> Scanned:
    """Run ``fuaio scan`` to its end."""
    # -P: as the installed script, this does not import from the folder that it is called in.
    done = subprocess.run(
        [COMMAND[0], "-P", *COMMAND[1:], "scan", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment() if env is None else dict(env),
        cwd=cwd,
        check=False,
    )
    return Scanned(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_json(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Scanned:
    """Run it for JSON; every place has to answer."""
    done = run_scan("--format", "json", *arguments, env=env)
    assert done.code == 0, done
    return done
