"""A virtual machine ends in every case, and its answer is told from none; qemu is a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from vm_machine import DISKS, NO_ANSWER, TIMED_OUT, Image, Result, boot

Boot = Callable[..., Result]

# Writes into the files of its serial lines, as the guest would, and ends or does not.
QEMU = """#!/bin/sh
for word; do
  case $word in
    file:*/output) output=${word#file:} ;;
    file:*/errors) errors=${word#file:} ;;
    file:*/status) status=${word#file:} ;;
  esac
done
echo $$ >"$PIDS"
printf '%s\\n' "$@" >"$PIDS.words"
echo said >"$output"
echo complained >"$errors"
"""


@pytest.fixture
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PIDS", str(tmp_path / "pid"))

    def run(end: str, limit_s: float = 60) -> Result:
        program = tmp_path / "qemu-system-x86_64"
        program.write_text(QEMU + end + "\n")
        program.chmod(0o755)
        image = Image(tmp_path / "root", tmp_path / "kernel", tmp_path / "initrd", "3.11")
        (tmp_path / "machine").mkdir()
        return boot(image, tmp_path / "payload", tmp_path / "machine", limit_s)

    return run


def test_the_commands_status_and_words_come_back(booted: Boot) -> None:
    assert booted('echo "exit 7" >"$status"') == Result(7, "said\n", "complained\n")


@pytest.mark.parametrize("end", ["exit 0", "kill -9 $$", 'echo "ex" >"$status"'])
def test_a_machine_that_ends_without_an_answer_has_a_status_of_its_own(
    booted: Boot, end: str
) -> None:
    assert booted(end).code == NO_ANSWER


def test_a_machine_that_does_not_end_is_ended(booted: Boot, tmp_path: Path) -> None:
    found = booted("exec sleep 300", 1)
    assert (found.code, found.output) == (TIMED_OUT, "said\n")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_every_disk_is_given_to_the_machine_with_its_serial_number(
    booted: Boot, tmp_path: Path
) -> None:
    booted('echo "exit 0" >"$status"')
    words = (tmp_path / "pid.words").read_text()
    for name in DISKS:
        assert f"drive={name},serial={name}" in words
        assert (tmp_path / "machine" / f"{name}.img").stat().st_size >= 1 << 30
    assert "snapshot=on" in words
    assert "-no-reboot" in words
