"""Fetch packages of a Debian suite and unpack them, beside and without the system's own apt.

What was fetched once is used again: remove the folder to ask the archive anew.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUITES = ("bullseye", "bookworm", "trixie", "sid")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# The libraries themselves are found by what these depend on, since suites name them differently.
PACKAGES = ("libaio-dev", "liburing-dev", "linux-libc-dev")
# bullseye is past its support: an archive that has lost it may take its time to say so.
TIMEOUT_S = 30
LIMIT_S = 180


class UnreachableError(Exception):
    """The suite cannot be fetched from here."""


# What this process has asked for in vain: not again for every prefix, an archive may take its time.
_unreachable: dict[Path, UnreachableError] = {}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock *path*, so that two processes do not make the same folder at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _printed(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S)
    return done.stdout


def architecture() -> str:
    """Give Debian's name for this machine."""
    try:
        return _printed("dpkg", "--print-architecture").strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise UnreachableError(f"no suite can be fetched without dpkg ({error})") from error


def archives() -> list[str]:
    """Give the archives that this system's own apt is set to."""
    try:
        return _printed(Path(__file__).parent / "archives").split()
    except (OSError, subprocess.SubprocessError):
        return []


class _Apt:
    """An apt with a state of its own in *folder* and one source."""

    def __init__(self, folder: Path, archive: str, suite: str, arch: str) -> None:
        for name in ("state/lists/partial", "cache/archives/partial", "debs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        source = f"deb [signed-by={KEYRING}] {archive} {suite} main\n"
        (folder / "sources.list").write_text(source, encoding="utf-8")
        settings = {
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Sandbox::User": getpass.getuser(),
            "Acquire::Retries": 2,
            "Acquire::http::Timeout": TIMEOUT_S,
            "Acquire::Languages": "none",
            # What cannot be fetched fails here, and not where the package is missing.
            "APT::Update::Error-Mode": "any",
        }
        self.debs = folder / "debs"
        self._options = [f"-o{name}={value}" for name, value in settings.items()]

    def run(self, *words: str) -> None:
        """Run apt-get; where it fails, its first words are the error."""
        done = subprocess.run(
            ["apt-get", "-qq", *self._options, *words],
            cwd=self.debs,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"apt-get exits {done.returncode}"]
            raise UnreachableError(said[0])

    def depends(self, package: str) -> str:
        """Give what a downloaded *package* depends on."""
        (deb,) = self.debs.glob(f"{package}_*.deb")
        return _printed("dpkg-deb", "-f", deb, "Depends")


def _download(apt: _Apt) -> None:
    apt.run("update")
    apt.run("download", *PACKAGES)
    wanted = " ".join(apt.depends(package) for package in PACKAGES[:2])
    apt.run("download", *sorted(set(re.findall(r"\b(?:libaio|liburing)\d\w*", wanted))))


def _unpack(debs: Path, folder: Path) -> None:
    versions = {}
    for deb in sorted(debs.glob("*.deb")):
        name, version = _printed("dpkg-deb", "-f", deb, "Package", "Version").splitlines()
        versions[name.removeprefix("Package: ")] = version.removeprefix("Version: ")
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    lines = (f"{name} {version}\n" for name, version in versions.items())
    (folder / "versions").write_text("".join(lines), encoding="utf-8")


def fetch(cache: Path, suite: str, arch: str) -> Path:
    """Give the folder with the headers and libraries of *suite*, fetched unless it is there."""
    folder = cache / "debian" / f"{suite}-{arch}"
    with locked(folder.with_suffix(".lock")):
        if folder.is_dir():
            return folder
        if folder in _unreachable:
            raise _unreachable[folder]
        work = folder.with_suffix(".work")
        told = "this system's apt has no archive of Debian"
        try:
            for archive in archives():
                shutil.rmtree(work, ignore_errors=True)
                try:
                    apt = _Apt(work, archive, suite, arch)
                    _download(apt)
                except UnreachableError as error:
                    told = str(error)
                    continue
                _unpack(apt.debs, work / "unpacked")
                os.rename(work / "unpacked", folder)
                return folder
        except (OSError, subprocess.SubprocessError) as error:
            told = str(error)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _unreachable[folder] = UnreachableError(f"{suite}: unreachable ({told})")
        raise _unreachable[folder]


def upstream(version: str) -> str:
    """Give the upstream part of a Debian *version*: ``0.3.113`` of ``1:0.3.113-8+b1``."""
    return version.rpartition(":")[2].rpartition("-")[0] or version


def version_in(folder: Path, package: str) -> str:
    """Give the upstream version of *package* among what was fetched into *folder*."""
    lines = (folder / "versions").read_text(encoding="utf-8").splitlines()
    return upstream(dict(line.split(" ", 1) for line in lines)[package])
