"""fuaio bench: a short real run, its refusals, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest
from block_devices import make_file_system
from command import Fuaio
from fixtures_root import FileSystems, LoopDevices
from needs import missing, need_engine

from fuaio.bench import Run, peers

SHORT = ("--seconds", "0.01", "--rounds", "1", "--size", "1M")
WAYS = ("write_then_flush", "fua", "group_flush", "auto", "none")


def run_of(output: bytes) -> Run:
    return msgspec.json.decode(output, type=Run)


@pytest.mark.parametrize(("depth", "jobs"), [(1, 1), (2, 3)])
def test_a_short_run_measures_every_way_of_the_best_engine(
    fuaio: Fuaio, scratch: Path, depth: int, jobs: int
) -> None:
    from fuaio.aio import available

    best = available().engines[0]
    numbers = ("--depth", str(depth), "--jobs", str(jobs))
    done = fuaio("bench", str(scratch), *SHORT, *numbers, "--format", "json")
    can = best != "threads" or depth == 1  # of which there is no batch
    assert done.returncode == (0 if can else 1), done.stderr
    run = run_of(done.stdout)
    assert [result.contestant for result in run.results] == [f"fuaio:{best}:{way}" for way in WAYS]
    assert {(result.depth, result.jobs) for result in run.results} == {(depth, jobs)}
    for result in run.results:
        if not can:
            assert "one write at a time" in result.why_not
            continue
        assert (result.why_not, result.why_no_latencies) == ("", "")
        assert len(result.samples) == 1
        assert result.latencies is not None
        assert result.latencies.p50_s > 0
    assert run.machine.kernel == os.uname().release
    assert run.machine.build["laio_has_fua"]
    assert list(scratch.iterdir()) == []


def test_whoever_else_is_named_is_measured_or_says_why_not(fuaio: Fuaio, scratch: Path) -> None:
    if not peers():
        missing("no contestant but ours", required=False)
    names = ",".join(peers())
    arguments = ("--depth", "1", "--against", names, "--format", "json")
    done = fuaio("bench", str(scratch), *SHORT, *arguments)
    assert done.returncode == 0, done.stderr
    ours, *others = run_of(done.stdout).results
    assert (ours.is_ours, len(ours.samples)) == (True, 1)
    assert [result.contestant for result in others] == list(peers())
    for result in others:
        assert bool(result.why_not) != bool(result.samples)


def test_each_engine_runs_by_its_name(fuaio: Fuaio, scratch: Path, engine: str) -> None:
    done = fuaio("bench", str(scratch), *SHORT, "--depth", "1", "--way", "fua", "--engine", engine)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.decode().splitlines() if line.startswith("fuaio:"))
    assert line.split()[0] == f"fuaio:{engine}:fua"
    assert int(line.split()[1]) > 0


def test_the_record_goes_to_a_file_and_the_table_to_the_reader(
    fuaio: Fuaio, scratch: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run.json"
    done = fuaio(
        "bench", str(scratch), *SHORT, "--depth", "1", "--way", "none", "--output", str(output)
    )
    assert done.returncode == 0, done.stderr
    run = run_of(output.read_bytes())
    assert [result.contestant for result in run.results] == [
        done.stdout.decode().split("\n")[7].split()[0]
    ]


@pytest.mark.parametrize("pattern", ["random", "sequential"])
def test_the_record_tells_the_pattern(fuaio: Fuaio, scratch: Path, pattern: str) -> None:
    arguments = ("--depth", "1", "--way", "none", "--pattern", pattern, "--format", "json")
    done = fuaio("bench", str(scratch), *SHORT, *arguments)
    assert done.returncode == 0, done.stderr
    run = run_of(done.stdout)
    assert (run.work.pattern, len(run.results[0].samples)) == (pattern, 1)


def test_one_hears_beforehand_about_how_long_it_takes(fuaio: Fuaio, scratch: Path) -> None:
    done = fuaio("bench", str(scratch), *SHORT, "--depth", "1", "--way", "none")
    first = done.stderr.decode().splitlines()[0]
    assert first.startswith("1 contestants, 1 depths and jobs, 1 rounds")
    assert first.endswith(" s")


def test_a_plot_is_drawn_beside_the_table(fuaio: Fuaio, scratch: Path, tmp_path: Path) -> None:
    try:
        import matplotlib  # noqa: F401  # whether it is there
    except ImportError:
        missing("no matplotlib (the extra bench)", required=False)
    picture = tmp_path / "run.svg"
    done = fuaio(
        "bench", str(scratch), *SHORT, "--depth", "1", "--way", "fua", "--plot", str(picture)
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_text().startswith("<?xml")


def test_several_depths_are_measured_by_one_run(fuaio: Fuaio, scratch: Path) -> None:
    arguments = ("--depth", "2", "--depth", "1", "--depth", "2", "--way", "none", "--way", "none")
    done = fuaio("bench", str(scratch), *SHORT, *arguments, "--format", "json")
    run = msgspec.json.decode(done.stdout, type=Run)
    assert [(result.depth, result.jobs) for result in run.results] == [(2, 1), (1, 1)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rows", "qemu", "--depth", "1"), b"names depths and jobs already"),
        (("--against", "no-such"), b"'no-such' is not one of"),
        (("--against", ""), b"is not one of"),
        (("--cpu", "100000"), b"may not be used"),
        (("--output", "/no/such/folder/run.json"), b"cannot be written"),
        (("--output", __file__), b"is there already and would be lost"),
        (("--plot", "/dev/null"), b"is there already and would be lost"),
        (("--destroy-data",), b"goes with a block device"),
        (("--seconds", "0"), b"not in the range"),
        (("--seconds", "nan"), b"nan is no number of seconds"),
        (("--output", "./no.svg", "--plot", "no.svg"), b"name the same file"),
        (("--size", "1"), b"multiple of 4096"),
        (("--way", "hope"), b"'hope' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_question_is_a_usage_error_and_nothing_is_measured(
    fuaio: Fuaio, scratch: Path, arguments: tuple[str, ...], words: bytes
) -> None:
    done = fuaio("bench", str(scratch), *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert list(scratch.iterdir()) == []


def test_an_existing_file_is_never_overwritten(fuaio: Fuaio, scratch: Path) -> None:
    path = scratch / "data"
    path.write_bytes(b"dear")
    done = fuaio("bench", str(path), *SHORT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"name its folder" in done.stderr
    assert path.read_bytes() == b"dear"


def test_a_path_that_is_not_there_is_said(fuaio: Fuaio, scratch: Path) -> None:
    done = fuaio("bench", str(scratch / "no"), *SHORT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"No such file or directory" in done.stderr


@pytest.mark.root
def test_a_device_is_overwritten_only_when_told(fuaio: Fuaio, loop_device: LoopDevices) -> None:
    device = loop_device()
    make_file_system("ext4", device)
    before = device.read_bytes()
    arguments = ("bench", str(device), *SHORT, "--depth", "1", "--format", "json")
    done = fuaio(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"an ext2, ext3 or ext4 file system" in done.stderr
    assert device.read_bytes() == before
    done = fuaio(*arguments, "--destroy-data")
    assert done.returncode == 0, done.stderr
    assert device.read_bytes()[: 1 << 20] == b"\xa5" * (1 << 20)
    assert run_of(done.stdout).machine.device == device.name


@pytest.mark.root
def test_a_mounted_device_is_refused_whatever_is_said(
    fuaio: Fuaio, loop_device: LoopDevices, file_system: FileSystems
) -> None:
    device = loop_device()
    (file_system("ext4", device) / "data").write_bytes(b"dear")
    done = fuaio("bench", str(device), *SHORT, "--destroy-data")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is mounted" in done.stderr


@pytest.mark.root
def test_the_flushes_of_each_write_are_those_of_the_way(
    fuaio: Fuaio, loop_device: LoopDevices, engine: str
) -> None:
    device = loop_device()
    done = fuaio(
        *("bench", str(device), *SHORT, "--depth", "1", "--engine", engine, "--format", "json"),
        "--destroy-data",
    )
    assert done.returncode == 0, done.stderr
    run = run_of(done.stdout)
    assert run.machine.write_cache == "write back"
    found = {
        result.contestant.rpartition(":")[2]: (sample.flushes, sample.writes)
        for result in run.results
        for sample in result.samples
    }
    for way in ("write_then_flush", "fua", "group_flush", "auto"):  # loop has no FUA
        flushes, writes = found[way]
        assert flushes == writes
    assert found["none"][0] == 0


def children_of(process: int) -> set[int]:
    tasks = Path(f"/proc/{process}/task/{process}/children")
    return {int(number) for number in tasks.read_text().split()}


def test_ctrl_c_leaves_no_process_and_no_file(command: tuple[str, ...], scratch: Path) -> None:
    need_engine("threads")
    process = subprocess.Popen(
        [*command, "bench", str(scratch), "--seconds", "60", "--depth", "1", "--engine", "threads"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        process.stderr.readline()  # how long it takes: the file is filled
        while not (children := children_of(process.pid)):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, output) == (130, b"")
    for child in children:
        assert not Path(f"/proc/{child}").exists()
    assert list(scratch.iterdir()) == []
