"""What a packager can demand of the headers, and how the configure fails where it is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from header_prefixes import Prefixes
from meson_runs import SOURCE, Probe, run, succeed, tool

pytestmark = pytest.mark.builds

LIBRARIES = ("libaio", "liburing")
HELPERS = {"libaio": "io_prep_pwritev2", "liburing": "io_uring_prep_writev2"}


def test_require_fua_is_met_by_genuine_headers(private_probe: Probe, prefixes: Prefixes) -> None:
    answers = private_probe.configure("-Dfuaio:require_fua=libaio,liburing")
    assert not answers.failed, answers.output
    assert answers.facts["require_fua"]["value"] == "libaio,liburing"


def test_nothing_is_required_unless_it_is_asked_for(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.libaio("ablated")
    prefixes.liburing("broken")
    answers = private_probe.configure()
    assert not answers.failed, answers.output
    assert answers.facts["require_fua"]["value"] == ""


def test_require_fua_names_version_symbol_and_the_version_that_has_it(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.liburing("ablated")
    prefixes.set_liburing_version("0.7")
    answers = private_probe.configure("-Dfuaio:require_fua=liburing")
    assert "require_fua=liburing" in answers.error
    assert "found liburing 0.7" in answers.error
    assert "io_uring_prep_writev2" in answers.error
    assert "has since 2.2" in answers.error
    assert "liburing-dev" in answers.error


def test_require_fua_names_the_bounds_of_an_old_libaio(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    header = prefixes.libaio("ablated") / "include/libaio.h"
    header.write_text(header.read_text().replace("io_pgetevents", "io_pgetevents_of_later"))
    answers = private_probe.configure("-Dfuaio:require_fua=libaio")
    assert "found libaio <0.3.111" in answers.error
    assert "io_prep_pwritev2" in answers.error


@pytest.mark.parametrize("library", LIBRARIES)
def test_require_fua_contradicts_a_disabled_library(probe: Probe, library: str) -> None:
    answers = probe.configure(f"-Dfuaio:require_fua={library}", f"-Dfuaio:{library}=disabled")
    assert f"require_fua={library} contradicts {library}=disabled" in answers.error


def test_require_fua_fails_without_the_library(
    probe: Probe, compiler_without_library: Path
) -> None:
    answers = probe.configure("-Dfuaio:require_fua=libaio", CC=str(compiler_without_library))
    assert "library-missing" in answers.error
    assert "libaio-dev" in answers.error


def test_require_fua_fails_with_a_header_that_does_not_compile_and_quotes_why(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.liburing("broken")
    answers = private_probe.configure("-Dfuaio:require_fua=liburing")
    assert "header-unusable: liburing.h:1: " in answers.error
    assert "linux/no-such-header.h" in answers.error


def test_require_fua_takes_no_other_name(probe: Probe) -> None:
    assert "threads" in probe.configure("-Dfuaio:require_fua=threads").error


@pytest.mark.parametrize("library", LIBRARIES)
def test_enabled_does_not_demand_the_helper(
    private_probe: Probe, prefixes: Prefixes, library: str
) -> None:
    prefixes.libaio("ablated")
    prefixes.liburing("ablated")
    answers = private_probe.configure(f"-Dfuaio:{library}=enabled")
    assert not answers.failed, answers.output
    assert answers.of(HELPERS[library]) == "no symbol-missing"


@pytest.mark.parametrize("library", LIBRARIES)
def test_enabled_fails_without_the_header_and_names_what_to_install(
    probe: Probe, without_headers: str, library: str
) -> None:
    answers = probe.configure(f"-Dfuaio:{library}=enabled", CFLAGS=without_headers)
    assert f"{library}=enabled" in answers.error
    assert f"fatal error: {library}.h: No such file or directory" in answers.output
    assert f"first compiler error: {library}.h: No such file or directory" in answers.error
    assert f"{library}-dev (Debian)" in answers.error


@pytest.mark.parametrize("library", LIBRARIES)
def test_enabled_fails_without_the_library_and_names_what_to_install(
    probe: Probe, compiler_without_library: Path, library: str
) -> None:
    answers = probe.configure(f"-Dfuaio:{library}=enabled", CC=str(compiler_without_library))
    assert f"-l{library.removeprefix('lib')} does not link" in answers.error
    assert f"{library}.h" in answers.error
    assert f"{library}-dev (Debian)" in answers.error


@pytest.mark.parametrize("how", ["-Dfuaio:liburing=enabled", "-Dauto_features=enabled"])
def test_enabled_fails_with_a_header_that_does_not_compile(
    private_probe: Probe, prefixes: Prefixes, how: str
) -> None:
    prefixes.liburing("broken")
    answers = private_probe.configure(how)
    assert "liburing=enabled" in answers.error
    assert "liburing.h is there and does not compile" in answers.error
    assert "first compiler error: liburing.h:1: linux/no-such-header.h" in answers.error
    assert "liburing-dev (Debian)" in answers.error


def test_auto_features_enabled_is_met_by_genuine_headers(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    answers = private_probe.configure("-Dauto_features=enabled")
    assert answers.of("libaio") == answers.of("liburing") == "yes ok"


def test_auto_features_disabled_disables_both(probe: Probe) -> None:
    answers = probe.configure("-Dauto_features=disabled")
    assert answers.of("libaio") == answers.of("liburing") == "no disabled"


@pytest.mark.parametrize(
    ("system", "family", "endian", "named"),
    [
        ("freebsd", "x86_64", "little", "freebsd"),
        ("darwin", "aarch64", "little", "darwin"),
        ("linux", "s390x", "big", "s390x is big-endian"),
    ],
)
def test_another_machine_is_refused_before_anything_else(
    tmp_path: Path, system: str, family: str, endian: str, named: str
) -> None:
    # No compiler for it is named, and none is asked for.
    machine = tmp_path / "machine.ini"
    machine.write_text(
        f"[host_machine]\nsystem = '{system}'\ncpu_family = '{family}'\ncpu = '{family}'\n"
        f"endian = '{endian}'\n"
    )
    result = run(tool("meson"), "setup", "--cross-file", machine, tmp_path / "build", SOURCE)
    assert result.returncode != 0
    assert "fuaio builds for" in result.stdout
    assert named in result.stdout
    assert "compiler for the host machine" not in result.stdout


def test_a_machine_of_32_bits_is_refused(probe: Probe) -> None:
    narrow = "-U__SIZEOF_POINTER__ -D__SIZEOF_POINTER__=4"
    assert "has 4 bytes" in probe.configure(CFLAGS=narrow).error


def test_a_cross_build_asks_the_compiler_of_its_cross_file(
    probe: Probe, prefixes: Prefixes, tmp_path: Path
) -> None:
    # Nothing that was built can be run: the probe must do without.
    prefixes.liburing("ablated")
    machine = tmp_path / "machine.ini"
    machine.write_text(
        "[binaries]\nc = 'cc'\nar = 'ar'\npkg-config = 'pkg-config'\n"
        "[properties]\nneeds_exe_wrapper = true\n"
        f"pkg_config_libdir = '{prefixes.folder}/liburing/lib/pkgconfig'\n"
        f"[built-in options]\nc_args = ['-I{prefixes.libaio('ablated')}/include']\n"
        "[host_machine]\nsystem = 'linux'\ncpu_family = 'x86_64'\ncpu = 'x86_64'\n"
        "endian = 'little'\n"
    )
    answers = probe.configure("--cross-file", str(machine))
    for helper in HELPERS.values():
        assert answers.of(helper) == "no symbol-missing"
    prefixes.liburing("genuine")
    assert probe.reconfigure().of("io_uring_prep_writev2") == "yes ok"
    assert probe.compile().returncode == 0


def test_the_folder_with_the_probe_can_be_copied_into_another_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(SOURCE / "probe" / "symbols", project / "symbols")
    shutil.copy(SOURCE / "meson_options.txt", project)
    (project / "meson.build").write_text("project('mine', 'c', version: '3')\nsubdir('symbols')\n")
    succeed(tool("meson"), "setup", tmp_path / "build", project)
    answers = json.loads((tmp_path / "build" / "symbols" / "build.json").read_text())
    assert {"libaio", "liburing"} <= {fact["name"] for fact in answers["sections"]["build"]}
