"""Cells of the matrix on other systems: cross targets, and whole distributions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import suites
from matrix_run import (
    ROOT,
    TEST_LIMIT_S,
    CellError,
    Headers,
    Wrong,
    compare,
    expectation,
    last_lines,
    package_version,
    probe,
    read_facts,
    run,
    summary,
    tests_summary,
)
from matrix_table import LIBRARIES, Cell, Libc, Table

ROOTS = ROOT / "ci" / "roots"
# What ci/roots says of a suite that it cannot have.
UNREACHABLE = 3

# The probe by itself, as other projects copy it: it needs no Python of the target.
PROJECT = """\
project('cell', 'c', version: '0', default_options: ['c_std=gnu11'])
subdir('symbols')
"""
CROSS_FILE = """\
[binaries]
c = '{compiler}'
ar = '{ar}'
pkg-config = 'pkg-config'
[properties]
needs_exe_wrapper = true
pkg_config_libdir = '{liburing}/lib/pkgconfig'
[built-in options]
c_args = ['-isystem', '{libaio}/include']
c_link_args = ['-L{libaio}/lib']
[host_machine]
system = 'linux'
cpu_family = '{cpu_family}'
cpu = '{cpu_family}'
endian = 'little'
"""


def suite_kind(table: Table, library: str, suite: str) -> str:
    """Give the kind of the table that is a suite's header as it is."""
    names: dict[str, dict[str, str]] = table["kinds"][library]
    return next(kind for kind in names if names[kind]["prefix"] == f"{library}-{suite}")


def cross_prefixes(target: str, suite: str) -> list[str]:
    """Give the names of the prefixes of a target."""
    return [f"{library}-{suite}@{target}" for library in LIBRARIES]


def cross(
    table: Table, headers: Headers, target: str, suite: str, folder: Path
) -> tuple[str, list[Wrong]]:
    """Probe a target's headers by a cross file."""
    row = table["targets"][target]
    made = {name.split("-")[0]: headers[name] for name in cross_prefixes(target, suite)}
    libaio, liburing = (suite_kind(table, library, suite) for library in LIBRARIES)
    cell = Cell(f"{target}/{suite}", libaio, liburing, "gnu11", row["compiler"])
    libc = Libc(row["libc"], package_version(row["libc_package"]))
    versions = {library: prefix.version for library, prefix in made.items()}
    project = folder / "project"
    shutil.copytree(ROOT / "probe" / "symbols", project / "symbols")
    shutil.copy(ROOT / "meson_options.txt", project)
    (project / "meson.build").write_text(PROJECT, encoding="utf-8")
    folders = {library: prefix.folder for library, prefix in made.items()}
    machine = project / "machine.ini"
    machine.write_text(CROSS_FILE.format(**row, **folders), encoding="utf-8")
    arguments = ["--cross-file", str(machine)]
    expected = table.expected(cell, versions, libc)
    return probe(table, folder, project, expected, arguments, os.environ)


def _make_root(suite: str, packages: list[str], log: Path) -> Path:
    """Give the folder of a root file system with these packages."""
    command: list[str | Path] = [ROOTS, "make", suite, *packages]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, text=True, check=False)
    if done.returncode == UNREACHABLE:
        raise suites.UnreachableError(f"{suite}: unreachable ({last_lines(log, 1)})")
    if done.returncode:
        raise CellError(f"no root of {suite}: {last_lines(log)}")
    return Path(done.stdout.splitlines()[-1])


def distribution(table: Table, name: str, folder: Path) -> tuple[str, list[Wrong]]:
    """Install fuaio in a distribution with its Python and headers, and run the whole suite."""
    row = table["distributions"][name]
    log, shared = folder / "log", folder / "shared"
    packages = table["packages"]["both"] + table["packages"][row["tools"]]
    root = _make_root(row["suite"], packages, log)
    versions = {one: package_version(f"{one}-dev", str(root)) for one in LIBRARIES}
    cell = Cell(name, "system", "system", "gnu11", "gcc")
    libc = Libc("glibc", package_version("libc6-dev", str(root)))
    expected = table.expected(cell, versions, libc)
    # On the disk, since the root may be an overlay, and some of the tests ask much of a disk.
    (shared / "scratch").mkdir(parents=True)
    _copy_source(shared / "source")
    variables = {
        "FUAIO_EXPECT": expectation(expected),
        **{name: value for name, value in os.environ.items() if name.startswith("FUAIO_REQUIRE_")},
        "FUAIO_SCRATCH": "/shared/scratch",
        "TMPDIR": "/shared/scratch",
    }
    # The lock that keeps the tests of two runs from disturbing each other.
    binds = {shared: "/shared", Path("/run/lock"): "/run/lock"}
    command: list[str | Path] = [ROOTS, "run"]
    command += ["--offline"] if row["tools"] == "own" else []
    for host, inside in binds.items():
        command += ["--bind", f"{host}:{inside}"]
    for key, value in variables.items():
        command += ["--env", f"{key}={value}"]
    command += [root, "bash", "/shared/source/ci/in-root", row["tools"]]
    code = run(command, log, TEST_LIMIT_S)
    build_json = shared / "build.json"
    if not build_json.exists():
        raise CellError(f"the installation failed: {last_lines(log)}")
    facts = read_facts(build_json)
    wrong = compare(facts, expected, table)
    told = tests_summary(log)
    if code:
        wrong.append(Wrong("tests", "passed", told, str(log)))
    return f"{summary(facts)}; {told}", wrong


def _copy_source(folder: Path) -> None:
    """Copy what git would take, and nothing that lies about."""
    command: list[str | Path] = [
        "git",
        # A container's root is not who checked it out.
        "-c",
        f"safe.directory={ROOT}",
        "-C",
        ROOT,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # it may be deleted and not committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
