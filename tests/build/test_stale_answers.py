"""A plain rebuild, without Meson, does not go on with an answer that the header outdated."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest
from header_prefixes import Prefixes
from meson_runs import SOURCE, Probe, run, succeed, tool

pytestmark = pytest.mark.builds

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


def test_a_build_fails_until_a_header_that_changed_is_asked_again(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    # Nothing of ours uses it, so that the compiler alone would not notice.
    name = "io_uring_queue_init_mem"
    header = prefixes.folder / "liburing/include/liburing.h"
    old = header.read_text().replace(name, "no_such_name")
    new = f"{old}\nstatic inline void {name}(void) {{}}\n"
    header.write_text(old)
    assert private_probe.configure().of(name) == "no symbol-missing"
    assert private_probe.compile().returncode == 0
    header.write_text(new)
    for _ in range(2):
        stale = private_probe.compile()
        assert stale.returncode != 0
        assert "liburing_h.i: a header changed since it was probed" in stale.stdout
        assert "meson setup --reconfigure" in stale.stdout
    header.write_text(old)
    assert private_probe.compile().returncode == 0
    header.write_text(new)
    assert private_probe.reconfigure().of(name) == "yes ok"
    assert private_probe.compile().returncode == 0


@pytest.mark.parametrize("library", HELPERS)
def test_a_build_fails_until_a_header_that_was_mended_is_asked_again(
    private_probe: Probe, prefixes: Prefixes, library: str
) -> None:
    put = prefixes.libaio if library == "libaio" else prefixes.liburing
    put("broken")
    assert private_probe.configure().of(library) == "unknown header-unusable"
    assert private_probe.compile().returncode == 0
    put("genuine")
    assert private_probe.compile().returncode != 0
    assert private_probe.reconfigure().of(library) == "yes ok"
    assert private_probe.compile().returncode == 0


@pytest.mark.parametrize("standard", ["c11", "c17", "gnu17"])
def test_the_core_compiles_without_a_warning_in_this_c(tmp_path: Path, standard: str) -> None:
    build = tmp_path / "build"
    options = (f"-Dc_std={standard}", "-Dwerror=true", "-Dlibaio=enabled", "-Dliburing=enabled")
    succeed(tool("meson"), "setup", build, SOURCE, *options)
    succeed(tool("ninja"), "-C", build, "aio/libfuaio_core.a")
