"""What the tests of the build have in common: the probe, and headers to build against."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from header_prefixes import Prefixes
from meson_runs import SOURCE, Probe, succeed

LOCAL = [
    f"{library}-{kind}"
    for library in ("libaio", "liburing")
    for kind in ("genuine", "ablated", "broken")
]


@pytest.fixture(scope="session")
def made_prefixes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the prefixes that ci/prefixes makes from this system's headers."""
    folder = tmp_path_factory.mktemp("prefixes")
    succeed(SOURCE / "ci" / "prefixes", "make", *LOCAL, env={"FUAIO_PREFIXES": str(folder)})
    return folder


@pytest.fixture
def prefixes(made_prefixes: Path, tmp_path: Path) -> Prefixes:
    """Genuine headers of both libraries in a private prefix, to be replaced."""
    prefixes = Prefixes(made_prefixes, tmp_path / "prefixes")
    prefixes.libaio("genuine")
    prefixes.liburing("genuine")
    return prefixes


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    """The build probe with this system's headers."""
    return Probe(tmp_path / "parent", {})


@pytest.fixture
def private_probe(tmp_path: Path, prefixes: Prefixes) -> Probe:
    """The build probe with the headers of `prefixes`."""
    return Probe(tmp_path / "parent", prefixes.env())


def include_folders() -> list[Path]:
    """Give the folders that the compiler looks for headers in."""
    said = subprocess.run(
        ["cc", "-x", "c", "-E", "-v", "/dev/null"], capture_output=True, text=True, check=True
    ).stderr
    listed = said.partition("#include <...> search starts here:\n")[2].partition("End of")[0]
    return [Path(line.strip()) for line in listed.splitlines()]


@pytest.fixture
def without_headers(tmp_path: Path) -> str:
    """Compiler flags that hide the headers of libaio and liburing and leave all others."""
    flags = ["-nostdinc"]
    for number, folder in enumerate(include_folders()):
        view = tmp_path / "include" / str(number)
        view.mkdir(parents=True)
        for entry in folder.iterdir():
            if entry.name not in ("libaio.h", "liburing.h", "liburing"):
                (view / entry.name).symlink_to(entry)
        flags += ["-isystem", str(view)]
    return " ".join(flags)


@pytest.fixture
def compiler_without_library(tmp_path: Path) -> Path:
    """A compiler that does not find libaio and liburing until a file cc.finds-all is beside it."""
    compiler = tmp_path / "cc"
    compiler.write_text(
        "#!/bin/sh\n"
        '[ ! -e "$0.finds-all" ] || exec cc "$@"\n'
        "for argument; do\n"
        "  case $argument in\n"
        "    -laio | -luring | */libaio.* | */liburing.so | */liburing.a)\n"
        '      echo "ld: cannot find $argument" >&2; exit 1 ;;\n'
        "  esac\n"
        "done\n"
        'exec cc "$@"\n'
    )
    compiler.chmod(0o755)
    return compiler
