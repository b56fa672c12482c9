"""fuaio report."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from command import COMMAND, Fuaio
from fixtures_root import LoopDevices
from machine_trees import MachineTree

from fuaio.probe import KNOWN, SECTIONS, decode_report, gather, known_facts, render

WRITTEN = ("trial", "observation")


@pytest.mark.combination
def test_a_report_is_made_whatever_this_machine_can_do(fuaio: Fuaio) -> None:
    done = fuaio("report", "/")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()[2:]
    names = [line.split()[0] for line in lines if not line.startswith("# ")]
    assert sorted(names) == sorted(".".join(key) for key in KNOWN if key[0] not in WRITTEN)


@pytest.mark.parametrize("format_", ["text", "macros", "markdown", "json"])
def test_each_format_is_the_rendering_of_the_record(fuaio: Fuaio, format_: str) -> None:
    done = fuaio("report", "--format", format_, "--section", "build")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == render(gather(["build"]), format_)


def test_only_the_sections_asked_for_are_told_in_the_usual_order(fuaio: Fuaio) -> None:
    done = fuaio("report", "--format=json", "--section=policy", "--section=build")
    assert list(decode_report(done.stdout).sections) == ["build", "policy"]


def test_macros_carry_the_prefix(fuaio: Fuaio) -> None:
    done = fuaio("report", "--format", "macros", "--macro-prefix", "DEMO_", "--section", "build")
    lines = done.stdout.decode().splitlines()[1:]
    assert lines
    assert all(line.startswith("#define DEMO_") for line in lines)


def test_json_can_be_asked_again(fuaio: Fuaio) -> None:
    report = fuaio("report", "--format", "json").stdout
    live = fuaio("check", "pwritev2", "engine:threads")
    saved = fuaio("check", "pwritev2", "engine:threads", "--report", "-", stdin=report)
    assert (saved.returncode, saved.stdout) == (live.returncode, live.stdout)
    assert json.loads(report)["sections"].keys() == set(SECTIONS) - {"target", *WRITTEN}


def test_with_a_path_the_last_lines_say_what_durable_writes_come_down_to(
    fuaio: Fuaio, tmp_path: Path
) -> None:
    done = fuaio("report", "--section", "target", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == render(gather(["target"], target=str(tmp_path)), "text").encode()
    overwrite, append = done.stdout.decode().splitlines()[-2:]
    assert overwrite.startswith(f"# An overwrite at {tmp_path} is ")
    assert append.startswith(f"# An append at {tmp_path} is ")


def test_what_is_observed_stands_beside_what_was_foretold(fuaio: Fuaio, scratch: Path) -> None:
    done = fuaio("report", "--section", "target", "--observe", "--format", "json", str(scratch))
    assert (done.returncode, done.stderr) == (0, b"")
    report = decode_report(done.stdout)
    assert list(report.sections) == ["target", "observation"]
    names = [fact.name for fact in report.sections["observation"]]
    assert sorted(names) == sorted(known.name for known in known_facts("observation"))
    assert list(scratch.iterdir()) == []


def test_a_trial_is_a_section_too_and_a_command(fuaio: Fuaio, scratch: Path) -> None:
    done = fuaio("report", "--section=target", "--trial", "--format=json", str(scratch))
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(decode_report(done.stdout).sections) == ["target", "trial"]
    words = ("--observe", "--format", "json", str(scratch))
    done = fuaio("trial", "--seconds", "0.001", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    report = decode_report(done.stdout)
    assert list(report.sections) == ["trial", "observation"]
    assert report.facts()["trial", "threads_overwrite_ns"].state == "yes"


def test_a_trial_needs_no_standard_error(scratch: Path) -> None:
    words = [*COMMAND, "trial", "--seconds=0.001", str(scratch)]
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert b"trial.threads_overwrite_ns" in done.stdout


def test_a_number_of_seconds_that_is_none_is_refused(fuaio: Fuaio, scratch: Path) -> None:
    done = fuaio("trial", "--seconds", "nan", str(scratch))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"nan is no number of seconds" in done.stderr


@pytest.mark.root
def test_a_device_is_observed_only_with_the_leave_to_destroy(
    fuaio: Fuaio, loop_device: LoopDevices
) -> None:
    device = str(loop_device())
    words = ("report", "--section", "target", "--observe", device)
    refused = fuaio(*words)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"--destroy-data allows that" in refused.stderr
    assert b"1 write, 1 flush" in fuaio(*words, "--destroy-data").stdout


def test_a_recorded_machine_answers_for_a_path_of_its_own(fuaio: Fuaio, tmp_path: Path) -> None:
    machine = MachineTree(tmp_path)
    machine.disk("nvme0n1", "259:0", "write back", fua=1)
    machine.mount("/data", "xfs", "259:0")
    report = decode_report(
        fuaio("report", "--format=json", "--sysroot", str(tmp_path), "/data/x").stdout
    )
    assert list(report.sections) == ["target"]
    assert report.facts()["target", "summary"].value == (
        "xfs on NVMe nvme0n1: overwrites are one FUA write; appends are a write and a flush"
    )


def test_the_help_tells_what_each_fact_means(fuaio: Fuaio) -> None:
    shown = fuaio("report", "--help").stdout.decode()
    for known in KNOWN.values():
        assert f"{known.section}.{known.name}: {known.meaning}" in shown
