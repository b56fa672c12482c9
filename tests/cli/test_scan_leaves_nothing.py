"""A scan runs nothing of a place, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import COMMAND
from scan_places import LIBURING, Maker, environment, run_json, run_scan

pytestmark = pytest.mark.builds

PROGRAMS = ("cc", "gcc", "cc1", "collect2", "as", "ld", "ld.bfd", "lld", "pkg-config", "meson")
MACHINE = "[host_machine]\nsystem = 'linux'\ncpu_family = 'x86_64'\ncpu = 'x'\nendian = 'little'\n"


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def put_programs(folder: Path, mark: Path) -> None:
    """Put programs into *folder* that leave *mark* when they are run."""
    for name in PROGRAMS:
        write_script(folder / name, f'echo "$0 $*" >>"{mark}"')


def test_nothing_of_a_prefix_is_run(maker: Maker, tmp_path: Path) -> None:
    prefix, mark = maker.prefix("prefix", "libaio-genuine", "liburing-genuine"), tmp_path / "mark"
    for folder in ("bin", "include", "lib", "libexec"):
        put_programs(prefix / folder, mark)
    (prefix / "mesonbuild").mkdir()
    for module in ("mesonbuild/__init__.py", "json.py", "sitecustomize.py"):
        (prefix / module).write_text(f"open({str(mark)!r}, 'a').write(__file__)\n")
    # A library runs its constructors in whatever is linked with it and run.
    source = tmp_path / "constructor.c"
    source.write_text(
        "#include <fcntl.h>\n__attribute__((constructor)) static void leave_a_mark(void)\n"
        f'{{ open("{mark}", O_CREAT | O_WRONLY, 0600); }}\n'
        "void io_uring_queue_init(void) {}\n"
    )
    library = prefix / "lib/liburing.so"
    library.unlink()
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    done = run_scan("--prefix", ".", "--cc", "cc", cwd=prefix)
    assert done.code == 0, done
    assert dict(line.split()[:2] for line in done.stdout.splitlines()[1:])["liburing"] == "yes"
    assert not mark.exists(), mark.read_text()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_nothing_of_a_sysroot_is_run(maker: Maker, tmp_path: Path, compiler: str) -> None:
    found = shutil.which(compiler)
    if found is None:
        pytest.skip(f"no command {compiler}")
    root, mark = maker.sysroot("root", "liburing-genuine"), tmp_path / "mark"
    # A clang that does not lie beside a linker takes that of the GCC in the sysroot.
    alone = tmp_path / "bin" / compiler
    alone.parent.mkdir()
    alone.symlink_to(found)
    gcc = subprocess.run(["gcc", "-print-file-name=crtbegin.o"], capture_output=True, check=True)
    inside = Path(os.fsdecode(gcc.stdout.strip())).resolve().parent
    (root / "usr/lib").unlink()
    for entry in Path("/usr/lib").iterdir():
        (root / "usr/lib").mkdir(exist_ok=True)
        if entry.name != "gcc":
            (root / "usr/lib" / entry.name).symlink_to(entry)
    shutil.copytree(inside, root / inside.relative_to("/"), symlinks=True)
    for folder in ("usr/bin", inside.parent.name + "/bin", f"usr/{inside.parent.name}/bin"):
        put_programs(root / folder, mark)
    put_programs(root / inside.relative_to("/"), mark)
    done = run_json("--sysroot", root, env=environment(CC=str(alone)))
    assert done.of(f"sysroot:{root}", LIBURING) == "yes ok"
    assert not mark.exists(), mark.read_text()


def test_no_program_that_a_compiler_makes_is_run_nor_a_wrapper_for_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    header = tmp_path / "mark.h"
    header.write_text(
        "int open(const char *, int, ...);\n__attribute__((constructor)) static void leave_a_mark"
        f'(void) {{ open("{mark}", 0101, 0600); }}\n'
    )
    compiler = write_script(tmp_path / "marking cc", f'exec cc -include "{header}" "$@"')
    wrapper = write_script(tmp_path / "wrapper", f'echo "$0 $*" >>"{mark}"; exec "$@"')
    cross = tmp_path / "cross"
    cross.write_text(
        f"[binaries]\nc = '{compiler}'\nexe_wrapper = '{wrapper}'\n"
        f"[properties]\nneeds_exe_wrapper = true\n{MACHINE}"
    )
    done = run_scan("--cc", f"'{compiler}'", "--cross", cross)
    assert done.code == 0, done
    assert not mark.exists()


def commands_that_name(text: str) -> list[bytes]:
    """Give the command lines of running processes in which *text* stands."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if os.fsencode(text) in command:
            found.append(command)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_scan_that_is_ended_takes_everything_with_it(
    maker: Maker, tmp_path: Path, number: signal.Signals
) -> None:
    # Started by Meson, it would wait for ever, and says that it has begun.
    begun = tmp_path / "begun"
    compiler = write_script(
        tmp_path / "cc", f'[ "$1" = --version ] && {{ touch "{begun}"; sleep 1000; }}; exec cc "$@"'
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as it is in a terminal, not under nohup
    child = subprocess.Popen(
        [*COMMAND, "scan", *["--cc", str(compiler)] * 3],
        env=environment(TMPDIR=str(temporary)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not begun.exists() and child.poll() is None:
        time.sleep(0.01)  # pytest's time limit ends this
    assert list(temporary.iterdir())
    child.send_signal(number)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == (130 if number is signal.SIGINT else -number)
    assert (output, errors) == (b"", b"")
    assert not list(temporary.iterdir())
    # What is killed needs a moment to go; what is not stays until pytest's time limit.
    while commands_that_name(str(tmp_path / "cc")) or commands_that_name(str(temporary)):
        time.sleep(0.01)  # between two looks at /proc


def test_a_scan_that_ends_leaves_nothing_behind(maker: Maker, tmp_path: Path) -> None:
    prefix = maker.prefix("prefix", "liburing-genuine")
    before = sorted(prefix.rglob("*"))
    (tmp_path / "empty").mkdir()
    places = ("--prefix", prefix, "--cc", "false", "--cross", prefix / "lib/pkgconfig/liburing.pc")
    done = run_scan(*places, env=environment(TMPDIR=str(tmp_path / "empty")))
    assert done.code == 2
    assert not list((tmp_path / "empty").iterdir())
    assert sorted(prefix.rglob("*")) == before
