"""Make folders with old, changed and broken headers of libaio and liburing to build against.

Usage: ci/prefixes list
       ci/prefixes make [NAME...]    (default: those made of this system's headers)
       ci/prefixes env NAME...       (makes them, then prints what a shell is to evaluate)

A NAME is LIBRARY-KIND or LIBRARY-SUITE[-CHANGE], where LIBRARY is libaio or liburing:

  libaio-genuine    a copy of what this system has
  libaio-sid        what that Debian suite has: bullseye, bookworm, trixie, sid (fetched once)
  ...-ablated       without the writev2 helper, and without what rests on it. libaio.h is then as in
                    0.3.110: no io_pgetevents either, and aio_rw_flags is called __pad2
  ...-broken        it includes a header that nobody has
  ...-bare          without the kernel's headers of its suite, which liburing needs since 2.8 where
                    this system's are older; where they are not, broken
  libaio-disabled   no folder: the option that disables the library

libaio-ablated and libaio-broken are made of this system's. NAME@arm64 and NAME@musl, of a suite,
are for those targets. env prints CFLAGS, LDFLAGS, PKG_CONFIG_PATH, LD_LIBRARY_PATH, and
FUAIO_SETUP_ARGS, the arguments for meson setup:

  eval "$(ci/prefixes env libaio-ablated liburing-disabled)"
  meson setup folder $FUAIO_SETUP_ARGS

The folders lie in $FUAIO_PREFIXES (default: build/prefixes); the file `version` in each has the
version found. Exits 2 on a wrong call or where this system has no headers, 3 where a suite is
unreachable.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import suites

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("libaio", "liburing")
CHANGES = ("ablated", "broken", "bare")
OF_THE_SYSTEM = ("genuine", "ablated", "broken")
# Target: the architecture of its packages, '' for this machine's; its compiler.
TARGETS = {"": ("", "cc"), "arm64": ("arm64", "aarch64-linux-gnu-gcc"), "musl": ("", "musl-gcc")}
PACKAGES = "libaio-dev and liburing-dev (Debian), libaio-devel and liburing-devel (Fedora)"
# What an ablated header lacks, each exactly once in it, unless it may be missing there.
ABLATED = {
    "libaio": ("io_prep_pwritev2", "io_prep_preadv2", "io_pgetevents"),
    "liburing": ("io_uring_prep_writev2", "io_uring_prep_writev_fixed"),
}
MAY_BE_MISSING = ("io_pgetevents", "io_uring_prep_writev_fixed")

PKG_CONFIG_FILE = """\
prefix={prefix}
libdir=${{prefix}}/lib
includedir=${{prefix}}/include

Name: liburing
Version: {version}
Description: io_uring library
Libs: -L${{libdir}} -luring
Cflags: -I${{includedir}}
"""


class UsageError(Exception):
    """The call is wrong, or this system lacks what it needs."""


@dataclass(frozen=True)
class Prefix:
    """Headers and library to build against; no *folder* where the library is disabled."""

    library: str
    folder: Path | None
    version: str


@dataclass(frozen=True)
class Name:
    """A name as the module's docstring tells, taken apart; *suite* is '' for this system."""

    text: str
    library: str
    suite: str
    change: str
    target: str


def parse(text: str) -> Name:
    """Take a name apart."""
    plain, _, target = text.partition("@")
    library, _, kind = plain.partition("-")
    first, _, rest = kind.partition("-")
    if library in LIBRARIES and target in TARGETS:
        if kind in (*OF_THE_SYSTEM, "disabled") and not target:
            return Name(text, library, "", kind, "")
        if first in suites.SUITES and rest in ("", *CHANGES):
            return Name(text, library, first, rest, target)
    raise UsageError(f"no prefix {text}; ci/prefixes list shows them")


def names(library: str) -> list[str]:
    """Give the names for *library*, without those for other targets."""
    of_suites = [f"{suite}{change}" for suite in suites.SUITES for change in ("", *_changes())]
    return [f"{library}-{kind}" for kind in (*OF_THE_SYSTEM, *of_suites, "disabled")]


def _changes() -> list[str]:
    return [f"-{change}" for change in CHANGES]


def _output(*command: str | Path, text: str = "") -> str:
    """Give what a command printed, or an empty string where it failed."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def system_version(library: str) -> str:
    """Give the version of this system's library, as its package manager tells; else ''."""
    debians = _output("dpkg-query", "--show", "--showformat=${Version}", f"{library}-dev")
    if debians:
        return suites.upstream(debians)
    return _output("rpm", "--query", "--queryformat=%{VERSION}", f"{library}-devel")


def _copy_of_the_system(library: str, prefix: Path) -> str:
    compiler = os.environ.get("CC", "cc").split()
    text = f"#include <{library}.h>\n"
    lines = _output(*compiler, "-D_GNU_SOURCE", "-E", "-x", "c", "-", text=text)
    found = re.search(rf'(?m)^# 1 "(.*/{library}\.h)"', lines)
    shared = Path(_output(*compiler, f"-print-file-name={library}.so").strip())
    if found is None or not shared.is_absolute():
        raise UsageError(f"this system has no {library}.h or no {library}.so; install {PACKAGES}")
    header = Path(found[1])
    (prefix / "include").mkdir(parents=True)
    (prefix / "lib").mkdir()
    shutil.copyfile(header, prefix / "include" / header.name)
    (prefix / "lib" / shared.name).symlink_to(shared.resolve())
    if library == "liburing":
        shutil.copytree(header.with_suffix(""), prefix / "include" / library)
        told = _output("pkg-config", "--modversion", library).strip()
        return told or system_version(library)
    return system_version(library)


def _copy_of_a_suite(unpacked: Path, library: str, prefix: Path) -> str:
    include, lib = prefix / "include", prefix / "lib"
    lib.mkdir(parents=True)
    include.mkdir()
    if library == "liburing":
        shutil.copytree(unpacked / "usr/include" / library, include / library)
    shutil.copyfile(unpacked / f"usr/include/{library}.h", include / f"{library}.h")
    # Under the name that it is loaded by, and under the one it is linked by: the -dev package's own
    # link may name a folder of the system. Without these the linker would take the static library.
    shared = sorted(unpacked.rglob(f"{library}.so.*"), key=lambda path: len(path.name))
    for path in shared:
        shutil.copyfile(path, lib / path.name)
    (lib / f"{library}.so").symlink_to(shared[0].name)
    return suites.version_in(unpacked, f"{library}-dev")


def _compiles(library: str, prefix: Path, compiler: str) -> bool:
    """Whether the header compiles for the target with what the target has."""
    command = [*compiler.split(), "-D_GNU_SOURCE", "-isystem", str(prefix / "include")]
    done = subprocess.run(
        [*command, "-fsyntax-only", "-x", "c", "-"],
        input=f"#include <{library}.h>\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0


def _add_kernel_headers(unpacked: Path, prefix: Path) -> None:
    headers = unpacked / "usr/include"
    (asm,) = headers.glob(f"{_gnu_triplet(unpacked)}/asm")
    for folder in (headers / "linux", headers / "asm-generic", asm):
        (prefix / "include" / folder.name).symlink_to(folder)


def _gnu_triplet(unpacked: Path) -> str:
    (found,) = unpacked.glob("usr/lib/*/pkgconfig/liburing.pc")
    return found.parts[-3]


def _without_function(header: Path, name: str) -> None:
    """Delete the declaration or inline definition of a function, which is there exactly once."""
    text = header.read_text(encoding="utf-8")
    start = rf"^(?:static inline|IOURINGINLINE|extern) [^;{{}}]*\b{name}\("
    pattern = re.compile(rf"(?ms){start}[^;{{]*(?:;\n|\{{.*?^\}}\n)")
    changed, count = pattern.subn("", text)
    if count != 1 and not (count == 0 and name in MAY_BE_MISSING):
        raise UsageError(f"{header} has no function {name} that could be deleted")
    header.write_text(changed, encoding="utf-8")


def _ablate(library: str, header: Path) -> None:
    for function in ABLATED[library]:
        _without_function(header, function)
    if library == "libaio":
        text = header.read_text(encoding="utf-8")
        header.write_text(re.sub(r"\baio_rw_flags\b", "__pad2", text), encoding="utf-8")


def _break(header: Path) -> None:
    text = header.read_text(encoding="utf-8")
    header.write_text(f"#include <linux/no-such-header.h>\n{text}", encoding="utf-8")


def _fill(name: Name, cache: Path, prefix: Path) -> str:
    """Put into *prefix* what *name* says; give the version."""
    header = prefix / "include" / f"{name.library}.h"
    if not name.suite:
        version = _copy_of_the_system(name.library, prefix)
    else:
        arch, compiler = TARGETS[name.target]
        if not name.target:
            compiler = os.environ.get("CC", compiler)
        unpacked = suites.fetch(cache, name.suite, arch or suites.architecture())
        version = _copy_of_a_suite(unpacked, name.library, prefix)
        needs_kernel_headers = not _compiles(name.library, prefix, compiler)
        if name.change == "bare" and not needs_kernel_headers:
            _break(header)
        elif name.change != "bare" and needs_kernel_headers:
            _add_kernel_headers(unpacked, prefix)
    if name.change == "ablated":
        _ablate(name.library, header)
    elif name.change == "broken":
        _break(header)
    return version


def _content(folder: Path) -> dict[str, bytes]:
    """Give what is in *folder*, to be compared."""
    return {
        str(path.relative_to(folder)): bytes(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def make(text: str, cache: Path) -> Prefix:
    """Make the prefix of that name; one that is as it should be stays, since builds may use it."""
    name = parse(text)
    if name.change == "disabled":
        return Prefix(name.library, None, "")
    if re.search(r"\s", str(cache)):
        raise UsageError(f"pkg-config takes no blanks in a path: {cache}; set FUAIO_PREFIXES")
    folder, new = cache / name.text, cache / f"{name.text}.new"
    with suites.locked(cache / f".{name.text}.lock"):
        shutil.rmtree(new, ignore_errors=True)
        version = _fill(name, cache, new)
        if name.library == "liburing":
            (new / "lib/pkgconfig").mkdir()
            description = PKG_CONFIG_FILE.format(prefix=folder, version=version)
            (new / "lib/pkgconfig/liburing.pc").write_text(description, encoding="utf-8")
        (new / "version").write_text(f"{version}\n", encoding="utf-8")
        if folder.is_dir() and _content(folder) == _content(new):
            shutil.rmtree(new)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
    return Prefix(name.library, folder, version)


def variables(prefixes: list[Prefix]) -> dict[str, str]:
    """Give the variables under which a build uses the *prefixes*, before what they are now."""
    words: dict[str, list[str]] = {"CFLAGS": [], "LDFLAGS": []}
    paths: dict[str, list[str]] = {"PKG_CONFIG_PATH": [], "LD_LIBRARY_PATH": []}
    for prefix in prefixes:
        if prefix.folder is None:
            continue
        paths["LD_LIBRARY_PATH"].append(f"{prefix.folder}/lib")
        if prefix.library == "liburing":
            paths["PKG_CONFIG_PATH"].append(f"{prefix.folder}/lib/pkgconfig")
        else:
            # As a system's header: it does not have to pass the warnings that ours passes.
            words["CFLAGS"].append(f"-isystem {prefix.folder}/include")
            words["LDFLAGS"].append(f"-L{prefix.folder}/lib")
    result = {}
    for separator, group in ((" ", words), (":", paths)):
        for key, values in group.items():
            result[key] = separator.join(filter(None, [*values, os.environ.get(key, "")]))
    return result


def options(prefixes: list[Prefix]) -> list[str]:
    """Give the arguments of meson setup that go with the *prefixes*."""
    return [f"-D{prefix.library}=disabled" for prefix in prefixes if prefix.folder is None]


def default_cache() -> Path:
    """Give the folder of the prefixes."""
    return Path(os.environ.get("FUAIO_PREFIXES") or ROOT / "build" / "prefixes").absolute()


def _command(words: list[str]) -> None:
    command, *chosen = words or [""]
    if command == "list" and not chosen:
        print(*(name for library in LIBRARIES for name in names(library)), sep="\n")
    elif command == "make":
        of_the_system = [f"{library}-{kind}" for kind in OF_THE_SYSTEM for library in LIBRARIES]
        for name in chosen or of_the_system:
            make(name, default_cache())
    elif command == "env" and chosen:
        prefixes = [make(name, default_cache()) for name in chosen]
        values = {**variables(prefixes), "FUAIO_SETUP_ARGS": " ".join(options(prefixes))}
        for key, value in values.items():
            print(f"export {key}={shlex.quote(value)}")
    else:
        raise UsageError("usage: ci/prefixes list | make [NAME...] | env NAME...")


def main(words: list[str]) -> int:
    """Do what the words say; 2 for a wrong call, 3 for a suite that is unreachable."""
    try:
        _command(words)
    except UsageError as error:
        print(f"ci/prefixes: {error}", file=sys.stderr)
        return 2
    except suites.UnreachableError as error:
        print(f"ci/prefixes: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
