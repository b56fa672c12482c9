"""What tests change outside of their process is put back, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from real_guard import afterwards, sysctl

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


def test_it_is_put_back_when_its_process_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    program = (
        "import sys, real_guard\n"
        "with real_guard.afterwards('printf back >\"$1\"', sys.argv[1]):\n"
        "    print('within', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, told],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([SUPPORT, *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "within\n"
        child.send_signal(signal.SIGKILL)
        assert told.read_text() == "back"  # waits for whoever writes it
    assert child.returncode == -signal.SIGKILL


@pytest.mark.root
def test_a_sysctl_has_its_value_within_and_the_old_one_after() -> None:
    path = Path("/proc/sys/fs/aio-max-nr")
    before = path.read_text()
    with sysctl("fs/aio-max-nr", int(before) + 1):
        within = path.read_text()
    assert (int(within), path.read_text()) == (int(before) + 1, before)
