"""How the command ends: every way has its exit code, and 1 and 2 are never an accident."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from command import Fuaio

from fuaio import __version__
from fuaio.cli import _entry

# Breaks something, then runs the command in the same process.
AFTER = "import sys; {change}; from fuaio.cli._entry import main; sys.exit(main())"


def run_after(change: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process where *change* was made before."""
    return subprocess.run(
        [sys.executable, "-c", AFTER.format(change=change), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_script_is_this_entry() -> None:
    (script,) = entry_points(group="console_scripts", name="fuaio")
    assert script.load() is _entry.main


def test_the_entry_imports_only_sys_before_it_can_catch() -> None:
    tree = ast.parse(Path(_entry.__file__).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import sys"]


def test_the_version_is_that_of_the_package(fuaio: Fuaio) -> None:
    done = fuaio("--version")
    assert (done.returncode, done.stdout) == (0, f"fuaio {__version__}\n".encode())


@pytest.mark.parametrize("name", ["click", "msgspec", "fuaio.probe", "fuaio.probe._build"])
def test_a_failed_import_of_ours_is_70_and_not_an_answer(name: str) -> None:
    done = run_after(f"sys.modules[{name!r}] = None", "check", "laio_has_fua")
    assert done.returncode == 70
    assert done.stdout == ""
    assert done.stderr.startswith("fuaio: failure: ModuleNotFoundError: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error", ["RuntimeError('two\\nlines')", "SystemExit(1)", "MemoryError()", "EOFError()"]
)
def test_a_crash_is_70_in_one_line_that_names_the_place(error: str) -> None:
    code = f"""
import fuaio.probe
def broken(*arguments):
    raise {error}
fuaio.probe.gather = broken
"""
    done = run_after(f"exec({code!r})", "check", "laio_has_fua")
    assert done.returncode == 70
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"fuaio: failure: {error.partition('(')[0]}: ")
    assert "<string>:" in done.stderr


def test_a_crash_is_70_also_where_nobody_reads_what_went_wrong() -> None:
    change = "sys.stderr.close(); sys.modules['click'] = None"
    assert run_after(change, "check", "laio_has_fua").returncode == 70


@pytest.mark.parametrize(
    "arguments",
    [("report",), ("report", "--format", "json"), ("check", "laio_has_fua"), ("--help",)],
    ids=" ".join,
)
def test_a_reader_that_went_away_is_141_without_a_word(
    command: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*command, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_cannot_be_written_is_70_and_no_answer(command: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, "check", "laio_has_fua"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 70
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


def test_what_a_crash_left_unwritten_does_not_change_the_exit_code() -> None:
    code = """
import fuaio.probe
def broken(*arguments):
    sys.stdout.write("half an answer")
    raise RuntimeError
fuaio.probe.gather = broken
"""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", AFTER.format(change=f"exec({code!r})"), "check", "pwritev2"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 70
    assert done.stderr.startswith(b"fuaio: failure: RuntimeError: ")
    assert done.stderr.count(b"\n") == 1


def run_without_output(*words: str) -> subprocess.CompletedProcess[str]:
    shell = ["sh", "-c", '"$@" >&-', "sh", *words]
    return subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)


def test_a_check_answers_by_exit_code_also_where_the_output_is_closed(
    command: tuple[str, ...],
) -> None:
    done = run_without_output(*command, "check", "pwritev2")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("form", ["text", "json", "macros", "markdown"])
def test_a_report_that_nobody_can_be_told_is_70(command: tuple[str, ...], form: str) -> None:
    done = run_without_output(*command, "report", "--format", form)
    assert done.returncode == 70
    assert "the standard output is closed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_is_130_without_a_word(command: tuple[str, ...], tmp_path: Path) -> None:
    fifo = tmp_path / "report.fifo"
    os.mkfifo(fifo)
    child = subprocess.Popen(
        [*command, "check", "laio_has_fua", "--report", str(fifo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # Opening it returns once the child has opened it too: it runs, and waits for a report.
    with fifo.open("wb"):
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=60)
    assert (child.returncode, output, errors) == (130, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "fuaio: Missing command."),
        (("rport",), "fuaio: No such command 'rport'"),
        (("--no-such",), "fuaio: No such option"),
        (("check",), "fuaio check: Missing argument 'REQ...'."),
        (("check", "laio_has_fau"), "fuaio check: no fact is named 'laio_has_fau'; did you"),
        (("diff", "a"), "fuaio diff: Missing argument 'B'."),
        (("diff", "-", "-"), "fuaio diff: only one report can be read from the standard input"),
        (("report", "--format", "html"), "fuaio report: Invalid value for '--format': 'html'"),
        (("report", "--section", "disk"), "fuaio report: Invalid value for '--section'"),
        (("report", "--section", "target"), "fuaio report: name the PATH"),
        (("report", "--sysroot", "/"), "fuaio report: name the PATH"),
        (("report", "--sysroot", "/nowhere", "/"), "fuaio report: Invalid value for --sysroot"),
        (
            ("report", "--sysroot", "/", "--section", "build", "/"),
            "fuaio report: --sysroot answers for the section target only",
        ),
        (("report", "--observe"), "fuaio report: name the PATH"),
        (
            ("report", "--section", "observation", "/"),
            "fuaio report: the section observation comes",
        ),
        (("report", "--section", "trial", "/"), "fuaio report: the section trial comes with"),
        (("report", "--destroy-data", "/"), "fuaio report: --destroy-data goes with"),
        (("report", "--observe", "--sysroot", "/", "/"), "fuaio report: --observe and --trial"),
        (("report", "--trial"), "fuaio report: name the PATH"),
        (("trial", "/no/such"), "fuaio trial: Invalid value for PATH: /no/such: No such file"),
        (("trial", "/dev/null"), "fuaio trial: Invalid value for PATH: /dev/null is neither"),
        (("report", "/no/such"), "fuaio report: Invalid value for PATH: /no/such: No such file"),
        (("report", "/dev/null"), "fuaio report: Invalid value for PATH: /dev/null is neither"),
        (("report", "--macro-prefix", "A"), "fuaio report: --macro-prefix goes with --format"),
        (
            ("report", "--format", "macros", "--macro-prefix", "1\n"),
            "fuaio report: Invalid value for --macro-prefix: macro prefix '1\\n' is not",
        ),
    ],
)
def test_a_usage_error_is_2_in_one_line(
    fuaio: Fuaio, arguments: tuple[str, ...], message: str
) -> None:
    done = fuaio(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(message)
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", ["", "check", "diff", "report"])
def test_help_is_had_of_every_command(fuaio: Fuaio, name: str) -> None:
    done = fuaio(*filter(None, [name]), "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Usage: fuaio")


def test_an_answer_fits_a_locale_that_lacks_its_letters(fuaio: Fuaio) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "iso8859-1"}
    done = fuaio("check", "fua:/\u6f22\xe9=none", env=env)
    assert done.returncode == 3
    assert done.stdout.startswith(b"undecidable fua:/\\u6f22\xe9=none: target = unk")
