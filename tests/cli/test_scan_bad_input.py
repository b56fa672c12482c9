"""Places that cannot be asked: their column is an error in one line, the others are shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND
from scan_places import Maker, environment, run_scan

pytestmark = pytest.mark.builds

ROW = '[[symbol]]\nheader = "stdio.h"\nsymbol = "printf"\ncontrol = "puts"\n'


def test_a_place_that_cannot_be_asked_is_an_error_of_its_own(maker: Maker, tmp_path: Path) -> None:
    good = maker.prefix("good", "liburing-genuine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    package = tmp_path / "package"
    package.mkdir()
    maker.prefix("package/usr", "libaio-genuine")
    (tmp_path / "noise").write_bytes(b"\xff\x00[")
    (tmp_path / "cross").write_text("[binaries]\nc = 'no-such-cc'\n")
    (tmp_path / "incomplete").write_text(
        "[binaries]\nc = 'cc'\n[host_machine]\nsystem = 'linux'\ncpu_family = 'x'\ncpu = 'x'\n"
    )
    compiler = tmp_path / "no compiler"
    compiler.write_text("#!/bin/sh\necho one >&2\necho two\nexit 3\n")
    compiler.chmod(0o755)
    mute = tmp_path / "mute"
    mute.write_text('#!/bin/sh\ncase "$*" in -dump*|*-dM*) exec cc "$@";; esac\nexit 1\n')
    mute.chmod(0o755)
    include = f"{good}/include"
    expected = {
        ("prefix", f"{tmp_path}/none"): "none: No such file or directory",
        ("prefix", "long" * 2000): ": File name too long",
        ("prefix", f"{tmp_path}/file"): "file is not a folder",
        ("prefix", f"{tmp_path}/empty"): f"sys/uio.h is in {tmp_path}/empty/include or ",
        ("prefix", str(package)): f"did you mean --prefix {package}/usr?",
        ("prefix", include): f"did you mean --prefix {good}?",
        ("sysroot", str(good)): f"sys/uio.h is in {good}/usr/include or ",
        ("sysroot", f"{package}/usr"): f"did you mean --sysroot {package}?",
        ("cross", f"{tmp_path}/none"): "none: No such file or directory",
        ("cross", str(tmp_path)): "is not a file",
        ("cross", f"{tmp_path}/noise"): "",
        ("cross", f"{tmp_path}/cross"): "no-such-cc",
        ("cross", f"{tmp_path}/incomplete"): "but is missing {'endian'}",
        ("prefix", ""): "the name of the folder is empty",
        ("cross", ""): "the name of the file is empty",
        ("cc", "no-such-cc"): "there is no compiler 'no-such-cc' that can be run",
        ("cc", "cc '"): """the compiler "cc '" is no command: No closing quotation""",
        ("cc", ""): "there is no compiler '' that can be run",
        ("cc", "true"): "true is no C compiler: it does not tell its byte order",
        ("cc", "false"): "false does not work as a C compiler; it exits with 1",
        ("cc", f"'{compiler}' -x"): "'no compiler' -x does not work as a C compiler; it says: one",
        ("cc", str(mute)): "",
    }
    places = [word for kind, given in expected for word in (f"--{kind}", given)]
    done = run_scan(*places, "--prefix", good)
    assert done.code == 2
    assert "Traceback" not in done.stdout + done.stderr
    errors = done.stderr.splitlines()
    assert len(errors) == len(expected)
    for line, ((kind, given), message) in zip(errors, expected.items(), strict=True):
        assert line.startswith(f"fuaio scan: {kind}:{given}: ")
        assert message in line
        assert "fuaio-scan-" not in line, "the name of a temporary folder"
        assert len(line) > len(f"fuaio scan: {kind}:{given}: ") + 10
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("liburing ")]
    assert rows == [["liburing", *["error"] * len(expected), "yes"]]


# Root as well is refused what its mode does not allow, without these.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


def test_what_may_not_be_read_is_not_told_as_missing(maker: Maker) -> None:
    refused = {
        "header": ("include/libaio.h", 0o200),
        "include": ("include", 0o600),
        "lib": ("lib", 0o600),
        "library": ("lib/liburing.so", 0o200),
        "itself": ("", 0o600),
    }
    prefixes = {
        name: maker.prefix(name, "libaio-genuine", "liburing-genuine")
        for name in (*refused, "passed")
    }
    # Of a link it is the library that it leads to.
    library = prefixes["library"] / "lib/liburing.so"
    library.unlink()
    library.write_bytes(b"")
    for name, (path, mode) in refused.items():
        (prefixes[name] / path).chmod(mode)
    prefixes["passed"].chmod(0o300)
    words = [word for prefix in prefixes.values() for word in ("--prefix", str(prefix))]
    try:
        done = subprocess.run(
            [*(BOUND if os.geteuid() == 0 else ()), *COMMAND, "scan", *words],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for name, (path, _) in refused.items():
            (prefixes[name] / path).chmod(0o700)
        prefixes["passed"].chmod(0o700)
    assert done.stderr.splitlines() == [
        f"fuaio scan: prefix:{prefixes[name]}: {prefixes[name] / path}: Permission denied"
        for name, (path, _) in refused.items()
    ]
    assert done.returncode == 2
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("lib")]
    assert ["liburing", *["error"] * len(refused), "yes"] in rows
    assert ["libaio", *["error"] * len(refused), "yes"] in rows


def test_where_no_place_answered_people_get_the_errors_alone(tmp_path: Path) -> None:
    for format_ in ("text", "markdown", "macros"):
        done = run_scan("--prefix", tmp_path, "--format", format_)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1


def test_a_header_cannot_write_on_the_terminal(maker: Maker) -> None:
    prefix = maker.prefix("prefix", "libaio-genuine", "liburing-genuine")
    (prefix / "include/liburing.h").write_text('#error "\x1b[2J \\" @0@ \x07end"\n')
    (prefix / "include/libaio.h").write_bytes(b"#error \xff\n")
    done = run_scan("--prefix", prefix)
    assert done.stdout.replace("\n", "").isprintable()
    assert done.stderr.replace("\n", "").isprintable()


def test_an_error_cannot_break_its_line(tmp_path: Path) -> None:
    done = run_scan("--prefix", "/no\n\x1b[2Jsuch", "--cc", "no\nsuch")
    assert done.stderr.splitlines() == [
        "fuaio scan: prefix:/no\\n\\x1b[2Jsuch: /no \\x1b[2Jsuch: No such file or directory",
        "fuaio scan: cc:no\\nsuch: there is no compiler 'no' that can be run",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cc", "cc", "--prefix", "/usr", "--format", "macros"), "tells of one place, not of 2"),
        (("--macro-prefix", "A"), "--macro-prefix goes with --format macros only"),
        (("--format", "macros", "--macro-prefix", "1"), "macro prefix '1' is not a C identifier"),
        (("--symbols", "a", "--symbols", "b"), "--symbols names one table, not 2"),
        (("--symbols", ""), "the name of the table is empty"),
        (("--prefix",), "Option '--prefix' requires an argument"),
        (("/usr",), "Got unexpected extra argument"),
        (("--format", "html"), "'html' is not one of"),
    ],
)
def test_a_wrong_question_is_refused_before_anything_is_asked(
    arguments: tuple[str, ...], message: str
) -> None:
    done = run_scan(*arguments, env=environment(PATH="/nonexistent"))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("fuaio")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_table_that_cannot_be_used_is_named_with_its_entry(tmp_path: Path) -> None:
    table = tmp_path / "a table"
    table.write_text(ROW + '[[symbol]]\nheader = "x.h"\nsymbol = "x"\n')
    done = run_scan("--symbols", table)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fuaio: {table}: entry 2: control is missing; each [[symbol]]")
    done = run_scan("--symbols", tmp_path / "none")
    assert done.stderr == f"fuaio: {tmp_path}/none: No such file or directory\n"
    done = run_scan("--symbols", "-", stdin=b"[[symbol]]\n" * 10_000)
    assert done.stderr.startswith("fuaio: -: larger than 65536 bytes (64 KiB)")
    done = run_scan("--symbols", "/dev/zero")
    assert (done.code, done.stderr.count("\n")) == (2, 1)


def scan_without(module: str, path: str) -> subprocess.CompletedProcess[str]:
    """Scan where *module* cannot be imported and programs are those in *path*."""
    return scan_after(f"import sys; sys.modules[{module!r}] = None", PATH=path)


def scan_after(before: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Scan in a Python that runs *before* first."""
    code = (
        f"{before}\nimport sys; sys.argv = ['fuaio', 'scan']\n"
        "from fuaio.cli._entry import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**changed),
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_meson_the_command_that_installs_it_is_told(tmp_path: Path) -> None:
    done = scan_without("mesonbuild", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fuaio: there is no Meson, neither in this Python nor on PATH; install one: "
        "pip install 'fuaio[scan]', or Debian's package meson (13 or newer)\n"
    )


@pytest.mark.parametrize("version", ["1.6.1", "0.56.2"])
def test_an_old_meson_is_told_from_a_new_one(tmp_path: Path, version: str) -> None:
    meson = tmp_path / "meson"
    meson.write_text(f"#!/bin/sh\necho {version}\n")
    meson.chmod(0o755)
    done = scan_without("mesonbuild", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Meson {version} is too old, the probe needs 1.7; install one: " in done.stderr


def test_a_meson_on_path_will_do_where_this_python_has_none(maker: Maker) -> None:
    if not any(Path(folder, "meson").exists() for folder in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("no command meson on PATH")
    done = scan_without("mesonbuild", os.environ["PATH"])
    assert done.returncode == 0, done.stderr


def test_a_temporary_folder_that_takes_nothing_more_is_named(tmp_path: Path) -> None:
    # As a full one does, this lets files be made but not written.
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    done = scan_after(full, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"fuaio scan: cc:cc: the temporary folder {tmp_path}: File too large; "
        "set TMPDIR to a folder with room\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_meson_that_does_nothing_wrote_no_answer(tmp_path: Path) -> None:
    meson = tmp_path / "meson"
    meson.write_text("#!/bin/sh\necho 9.9.9\n")
    meson.chmod(0o755)
    done = scan_without("mesonbuild", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"fuaio scan: cc:cc: Meson wrote no answer, though it ended well; is {meson} a Meson?\n"
    )


def test_a_folder_that_is_full_to_meson_is_named_too(tmp_path: Path) -> None:
    meson = tmp_path / "meson"
    meson.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 9.9.9; exit; }\n'
        "echo 'OSError: [Errno 28] No space left on device'; exit 1\n"
    )
    meson.chmod(0o755)
    done = scan_without("mesonbuild", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(": No space left on device; set TMPDIR to a folder with room\n")


def test_a_meson_that_never_ends_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    # Started by Meson, not by us.
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exec sleep 1000; exec cc "$@"\n')
    compiler.chmod(0o755)
    done = scan_after(
        "import fuaio.probe._scan as module; module._PATIENCE_S = 0.5", CC=str(compiler)
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fuaio scan: cc:{compiler}: no answer within 0 s; does a header")
    assert done.stderr.count("\n") == 1


def test_a_failure_of_our_own_is_told_as_itself() -> None:
    fail = (
        "import fuaio.probe._scan as module\n"
        "async def fail(*_): raise ValueError('of our own')\n"
        "module._configure = fail"
    )
    done = scan_after(fail)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.startswith("fuaio: failure: ValueError: of our own (")
