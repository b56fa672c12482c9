"""Tests that change something for the whole machine run alone, on the whole machine."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fixtures_root import Sysctl
from machine_lock import GATE, LOCK, VARIABLE, MachineLock, folder, machine_lock

SUPPORT = Path(__file__).parents[1] / "support"

# Holds the lock in the folder argv[1], shared or alone, from the word in its output until its input
# ends. One that is impatient tries once, says that it leaves the gate, and tries again on a line.
HOLDER = """
import sys
from pathlib import Path
import machine_lock
def leave(seconds):
    print("leaves", flush=True)
    sys.stdin.readline()
if sys.argv[2] == "impatient":
    machine_lock.KEEP_GATE_S = 0
    machine_lock.time.sleep = leave
with machine_lock.MachineLock(Path(sys.argv[1])).held(exclusive=sys.argv[2] != "shared"):
    print(sys.argv[2], flush=True)
    sys.stdin.read()
"""


def is_free(file: Path, how: int) -> bool:
    """Whether *file* could be locked in this way now."""
    with file.open("rb") as other:
        try:
            fcntl.flock(other, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def holder(where: Path, how: str, output: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock, or waits for it, until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, where, how],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        stdin=subprocess.PIPE,
        stdout=output,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


def wait_until(seen: Callable[[], bool]) -> None:
    """Look again and again; the time limit of a test ends it."""
    while not seen():
        os.sched_yield()


def waits(process: subprocess.Popen[str]) -> bool:
    """Whether *process* stands before a lock, as the kernel shows it."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(process.pid) in line.split() for line in lines)


def word(process: subprocess.Popen[str]) -> str:
    """Wait for the word that *process* says once it has the lock."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_runs_hold_the_lock_together(tmp_path: Path) -> None:
    with MachineLock(tmp_path).held(), holder(tmp_path, "shared") as other:
        assert word(other) == "shared"


@pytest.mark.parametrize(("first", "second"), [("shared", "alone"), ("alone", "shared")])
def test_one_that_wants_it_alone_and_another_wait_for_each_other(
    tmp_path: Path, first: str, second: str
) -> None:
    with holder(tmp_path, first) as before:
        assert word(before) == first
        with holder(tmp_path, second) as after:
            wait_until(lambda: not is_free(tmp_path / GATE, fcntl.LOCK_EX))
            before.communicate("")
            assert word(after) == second


def test_one_that_wants_it_alone_goes_before_those_who_come_later(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with open(reading, encoding="ascii") as words, holder(tmp_path, "shared") as before:
        assert word(before) == "shared"
        with holder(tmp_path, "alone", writing) as writer:
            wait_until(lambda: not is_free(tmp_path / GATE, fcntl.LOCK_EX))
            with holder(tmp_path, "shared", writing) as later:
                os.close(writing)
                wait_until(lambda: waits(later))
                before.communicate("")
                assert words.readline() == "alone\n"
                writer.communicate("")
                assert words.readline() == "shared\n"


def test_one_that_waits_in_vain_leaves_the_gate_to_others_and_comes_again(tmp_path: Path) -> None:
    with holder(tmp_path, "shared") as before:
        assert word(before) == "shared"
        with holder(tmp_path, "impatient") as writer:
            assert word(writer) == "leaves"
            with holder(tmp_path, "shared") as later:
                assert word(later) == "shared"
            before.communicate("")
            assert writer.stdin is not None
            writer.stdin.write("again\n")
            writer.stdin.flush()
            assert word(writer) == "impatient"


@pytest.mark.parametrize("how", ["shared", "alone"])
def test_a_run_that_is_killed_lets_go_of_it(tmp_path: Path, how: str) -> None:
    with holder(tmp_path, how) as killed:
        assert word(killed) == how
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert is_free(tmp_path / LOCK, fcntl.LOCK_EX)


def test_a_child_that_was_forked_does_not_keep_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with MachineLock(tmp_path).held():
        child = os.fork()
        if child == 0:
            os.read(reading, 1)
            os._exit(0)
    free = is_free(tmp_path / LOCK, fcntl.LOCK_EX)
    os.write(writing, b".")
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert free


def test_a_program_holds_it_until_it_ends_and_takes_no_second_one(tmp_path: Path) -> None:
    program = (
        "import fcntl, os, sys\n"
        "with open(sys.argv[1], 'rb') as file:\n"
        "    try:\n"
        "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    except BlockingIOError:\n"
        "        print('held', repr(os.environ['FUAIO_LOCKS']))\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, SUPPORT / "machine_lock.py"),
            *(sys.executable, "-c", program, tmp_path / LOCK),
        ],
        env={**os.environ, VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "held ''\n"
    assert is_free(tmp_path / LOCK, fcntl.LOCK_EX)


def test_every_user_can_read_what_one_has_made(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        MachineLock(tmp_path).close()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (GATE, LOCK)}
    assert modes == {0o444}


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("not ours")
    target.chmod(0o600)
    (tmp_path / GATE).symlink_to(target)
    lock = MachineLock(tmp_path)
    assert GATE in lock.why_not
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("not ours", 0o600)
    with lock.held():
        pass


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_lock(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / LOCK)
    assert MachineLock(tmp_path).why_not == f"{tmp_path / LOCK} is not a file"


def test_without_the_folder_tests_run_and_the_reason_is_told(tmp_path: Path) -> None:
    lock = MachineLock(tmp_path / "not there")
    assert "No such file" in lock.why_not
    with lock.held(exclusive=True):
        assert lock.is_exclusive


def test_the_folder_is_the_one_named_and_none_if_somebody_above_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert folder() == tmp_path
    monkeypatch.setenv(VARIABLE, "")
    assert folder() is None
    monkeypatch.delenv(VARIABLE)
    assert folder() in (Path("/run/lock"), Path("/tmp"))


def need_the_lock() -> Path:
    """The file of the lock that this run holds."""
    descriptors = machine_lock.descriptors()
    if not descriptors:
        pytest.skip(f"there is no lock here: {machine_lock.why_not}")
    return Path(f"/proc/self/fd/{descriptors[1]}")


def test_every_test_holds_the_lock_of_the_machine() -> None:
    lock = need_the_lock()
    assert machine_lock.is_held
    assert not machine_lock.is_exclusive
    assert is_free(lock, fcntl.LOCK_SH)
    assert not is_free(lock, fcntl.LOCK_EX)


def test_a_test_with_the_fixture_sysctl_holds_it_alone(sysctl: Sysctl) -> None:
    lock = need_the_lock()
    assert machine_lock.is_exclusive
    assert not is_free(lock, fcntl.LOCK_SH)


@pytest.mark.builds
def test_nobody_has_to_wait_for_a_test_that_builds() -> None:
    assert not machine_lock.is_held
