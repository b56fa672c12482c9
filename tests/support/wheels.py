"""Distributions as a front end has them built: by calling the build backend."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from meson_runs import succeed, tool

# Asked by files of any day: the archive's times are this and nothing else.
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
CALL = (
    "import json, sys, mesonpy\n"
    "hook, folder, settings = sys.argv[1:]\n"
    "print('built', getattr(mesonpy, 'build_' + hook)(folder, json.loads(settings)))\n"
)


def build(
    hook: str,
    source: Path,
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> Path:
    """Build the wheel, the editable wheel or the sdist of *source* into *folder*.

    *under* are the words before the command, such as those of unshare.
    """
    pytest.importorskip("mesonpy", reason="meson-python is not installed")
    folder.mkdir(parents=True)
    tools = f"{Path(tool('meson')).parent}:{Path(tool('ninja')).parent}:/usr/bin:/bin"
    printed = succeed(
        *(*under, sys.executable, "-c", CALL, hook, str(folder), json.dumps(settings or {})),
        cwd=source,
        env={"PATH": tools, **EPOCH, **(env or {})},
    )
    return folder / printed.rsplit("built ", 1)[1].strip()


def names_in(wheel: Path) -> set[str]:
    """Give the names of the files in *wheel*."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def contents(wheel: Path) -> dict[str, bytes]:
    """Give what is in the files of *wheel*, whatever permissions the source's files had."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpack(wheel: Path, folder: Path) -> Path:
    """Lay the files of *wheel* into *folder*, from where Python can import them."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
