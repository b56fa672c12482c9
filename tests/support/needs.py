"""What a test needs of this machine, and what happens where it is not there.

A missing engine, right or file system is a skip with a reason, since a packager's builder has
little. The environment turns a skip into a failure, where it is known that the thing is there:

FUAIO_REQUIRE_ENGINES   names of engines, separated by spaces
FUAIO_REQUIRE_ROOT      1: loop devices, mounts and other things of root's can be had
FUAIO_REQUIRE_DIRECT    1: the scratch folder is on a disk and takes O_DIRECT
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

ENGINES = ("io_uring", "linux_aio", "threads")


def missing(reason: str, *, required: bool) -> NoReturn:
    """Skip the test with *reason*, or fail it where the thing is *required*."""
    if required:
        pytest.fail(f"{reason}; required by the environment", pytrace=False)
    pytest.skip(reason)


def root_is_required() -> bool:
    """Whether the environment says that what only root may do can be done here."""
    return os.environ.get("FUAIO_REQUIRE_ROOT") == "1"


def need_engine(name: str) -> None:
    """Go on only if the engine *name* works here."""
    # Imported late: tests that need no engine run also where the core cannot be loaded.
    from fuaio.aio import available

    found = available()
    if name in found.engines:
        return
    required = name in os.environ.get("FUAIO_REQUIRE_ENGINES", "").split()
    missing(f"engine {name} is not available: {found.why_not.get(name)}", required=required)


def need_root() -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        missing("only root may do this", required=root_is_required())


def need_command(name: str, package: str) -> str:
    """Give the path of the command *name*, also where sbin is not on PATH."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        missing(f"no command {name} (Debian: {package})", required=root_is_required())
    return found
