"""What tests change outside of their process is put back, however they end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_root import Sysctl
from machine_lock import LOCK, VARIABLE
from real_guard import afterwards, changed_sysctl

SUPPORT = str(Path(__file__).parents[1] / "support")


def change_and_fail(path: Path) -> None:
    with afterwards('printf back >"$1"', path):
        path.write_text("changed")
        raise KeyboardInterrupt


def test_it_is_put_back_after_a_failure_too(tmp_path: Path) -> None:
    path = tmp_path / "changed"
    with pytest.raises(KeyboardInterrupt):
        change_and_fail(path)
    assert path.read_text() == "back"


def test_it_is_put_back_before_the_lock_ends_when_its_process_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    program = (
        "import sys, real_guard\n"
        "from machine_lock import machine_lock as lock\n"
        "guard = real_guard.afterwards('printf back >\"$1\"', sys.argv[1])\n"
        "with lock.held(exclusive=True), guard:\n"
        "    print('within', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, told],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([SUPPORT, *sys.path]),
            VARIABLE: str(tmp_path),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "within\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        with (tmp_path / LOCK).open("rb") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            assert told.read_text() == "back"  # waits for whoever writes it
            fcntl.flock(lock, fcntl.LOCK_SH)
    assert child.returncode == -signal.SIGKILL


@pytest.mark.root
def test_a_sysctl_has_its_value_within_and_the_old_one_after(sysctl: Sysctl) -> None:
    path = Path("/proc/sys/fs/aio-max-nr")
    before = path.read_text()
    with sysctl("fs/aio-max-nr", int(before) + 1):
        within = path.read_text()
    assert (int(within), path.read_text()) == (int(before) + 1, before)


def test_a_sysctl_is_not_changed_while_other_tests_may_run() -> None:
    with (
        pytest.raises(AssertionError, match="take the fixture sysctl"),
        changed_sysctl("fs/aio-max-nr", 1),
    ):
        pass
