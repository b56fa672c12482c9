"""Stages that run side by side read as if they ran one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "ci" / "side_by_side.py"


def words(folder: Path, at_once: int, names: str, script: str) -> list[str]:
    """The call that runs a shell *script* for each name, which is its $1; $2 is a folder."""
    call = [sys.executable, str(SCRIPT), str(at_once), str(folder / "logs"), *names.split()]
    return [*call, "--", "sh", "-euc", script, "sh", "{}", str(folder)]


def run(folder: Path, at_once: int, names: str, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(folder, at_once, names, script),
        input="given",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextmanager
def started(folder: Path, at_once: int, names: str, script: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        words(folder, at_once, names, script), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def result(folder: Path, name: str) -> str:
    """How the command of this name ended."""
    return (folder / "logs" / f"{name}.row").read_text().split()[-1]


def test_what_they_say_comes_in_the_order_of_their_names(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "turn")
    script = """
        case $1 in
          first) echo "first waits"; cat "$2/turn"; echo "first ends" ;;
          second) echo "second speaks"; echo "second has spoken" >"$2/turn" ;;
        esac"""
    done = run(tmp_path, 2, "first second", script)
    assert done.stdout.splitlines() == [
        *("=== first", "first waits", "second has spoken", "first ends"),
        *("=== second", "second speaks"),
    ]
    assert done.returncode == 0


def test_the_first_is_heard_while_it_runs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    script = 'if [ $1 = first ]; then echo speaks; cat "$2/go"; fi'
    with started(tmp_path, 2, "first second", script) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["=== first\n", "speaks\n"]
        (tmp_path / "go").write_text("goes on\n")
        assert process.stdout.read() == "goes on\n=== second\n"
        assert process.wait() == 0


def test_no_more_run_at_a_time_than_was_said(tmp_path: Path) -> None:
    script = 'mkdir "$2/busy"; ls "$2/busy" >/dev/null; rmdir "$2/busy"'
    assert run(tmp_path, 1, "one two three four", script).returncode == 0


def test_one_that_fails_keeps_no_other_from_running_and_the_whole_fails(tmp_path: Path) -> None:
    done = run(tmp_path, 2, "good bad late", 'echo "I am $1"; [ "$1" != bad ]')
    assert done.returncode == 1
    assert "I am late" in done.stdout
    assert [result(tmp_path, name) for name in ("good", "bad", "late")] == [
        *("passed", "FAILED", "passed")
    ]


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (7, 1)])
def test_a_single_one_has_the_input_that_is_there(
    tmp_path: Path, status: int, expected: int
) -> None:
    done = run(tmp_path, 2, "only", f"cat; exit {status}")
    assert (done.stdout, done.returncode) == ("=== only\ngiven", expected)
    assert result(tmp_path, "only") == ("FAILED" if expected else "passed")


def test_several_have_no_input(tmp_path: Path) -> None:
    assert run(tmp_path, 2, "a b", "cat").stdout == "=== a\n=== b\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_from_outside_ends_them_and_their_children(
    tmp_path: Path, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "held")
    # The child holds the pipe open, whose other end is read below until nobody does.
    # It ends by itself, should the ending that is tested not reach it.
    script = 'exec 3>"$2/held"; echo here >&3; sleep 300'
    with started(tmp_path, 2, "one two three", script) as process:
        with (tmp_path / "held").open() as held:
            assert held.readline() == held.readline() == "here\n"
            process.send_signal(number)
            assert held.read() == ""
        assert process.wait() == 128 + signal.SIGINT
    assert not (tmp_path / "logs" / "three.row").exists()


def test_an_end_that_comes_while_they_are_still_queued_ends_them_too(tmp_path: Path) -> None:
    names = " ".join(f"n{number}" for number in range(3000))
    with started(tmp_path, 2, names, "kill -s INT $PPID; sleep 300") as process:
        assert process.wait() == 128 + signal.SIGINT
    assert not (tmp_path / "logs" / "n2.row").exists()
