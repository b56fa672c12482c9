"""A plain rebuild, without Meson, does not go on with an answer that the header outdated."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest
from header_prefixes import Prefixes
from meson_runs import SOURCE, run, succeed, tool

OBJECTS = {
    "libaio": "aio/libfuaio_core.a.p/engine_linux_aio.c.o",
    "liburing": "aio/libfuaio_core.a.p/engine_io_uring.c.o",
}
HELPERS = {"libaio": "io_prep_pwritev2", "liburing": "io_uring_prep_writev2"}


def rebuild(build: Path, library: str) -> CompletedProcess[str]:
    """Compile the engine of *library*; Meson does not run again for that."""
    return run(tool("ninja"), "-C", build, OBJECTS[library])


def test_a_header_that_got_its_helper_does_not_compile_until_it_is_asked_again(
    prefixes: Prefixes, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    prefixes.libaio("ablated")
    prefixes.liburing("ablated")
    succeed(tool("meson"), "setup", build, SOURCE, env=prefixes.env())
    for library in HELPERS:
        assert rebuild(build, library).returncode == 0
    prefixes.libaio("genuine")
    prefixes.liburing("genuine")
    for library, helper in HELPERS.items():
        stale = rebuild(build, library)
        assert stale.returncode != 0
        assert "fuaio_stale_probe_rerun_meson_with_clearcache" in stale.stdout
        assert helper in stale.stdout
    succeed(tool("meson"), "setup", "--clearcache", "--reconfigure", build)
    for library in HELPERS:
        assert rebuild(build, library).returncode == 0


def test_a_header_that_lost_its_helper_does_not_compile_either(
    prefixes: Prefixes, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    succeed(tool("meson"), "setup", build, SOURCE, env=prefixes.env())
    prefixes.libaio("ablated")
    prefixes.liburing("ablated")
    for library, helper in HELPERS.items():
        stale = rebuild(build, library)
        assert stale.returncode != 0
        assert helper in stale.stdout
    succeed(tool("meson"), "setup", "--reconfigure", build)
    for library in HELPERS:
        assert rebuild(build, library).returncode == 0


@pytest.mark.parametrize("standard", ["c11", "c17", "gnu17"])
def test_the_core_compiles_without_a_warning_in_this_c(tmp_path: Path, standard: str) -> None:
    build = tmp_path / "build"
    options = (f"-Dc_std={standard}", "-Dwerror=true", "-Dlibaio=enabled", "-Dliburing=enabled")
    succeed(tool("meson"), "setup", build, SOURCE, *options)
    succeed(tool("ninja"), "-C", build, "aio/libfuaio_core.a")
