"""ci/roots: what a wrong call gets, and that nothing of a run is left. No network is used.

The root is one of links into a folder usr, which is that of this system, bound into it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from needs import need_command

ROOTS = Path(__file__).parents[2] / "ci" / "roots"
# Seconds in which a process that is killed is gone.
END_LIMIT_S = 10
pytestmark = [pytest.mark.root, pytest.mark.builds]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not Path("/lib").is_symlink():
        pytest.skip("this system's /lib is not a link to usr/lib")
    folder = tmp_path / "a root, with a comma"
    (folder / "usr").mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    return folder


def call(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOTS, *words],
        env={**os.environ, "FUAIO_ROOTS": str(cache)},
        capture_output=True,
        text=True,
    )


def run_in(folder: Path, *command: str, options: Sequence[str] = ()) -> tuple[int, str]:
    words = ["run", "--offline", "--bind", "/usr:/usr:ro", *options, str(folder), *command]
    done = call(*words, cache=folder.parent / "cache")
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "/no/such/root", "true"], "no such folder: /no/such/root"),
        (["run", "/"], "needs a COMMAND"),
        (["run", "--bind", "/no/such:/x", "/", "true"], "no such folder: /no/such"),
        (["run", "--bind", "/usr:x", "/", "true"], "HOST:DIR is wanted"),
        (["run", "--bind", "/usr:/x/../y", "/", "true"], "HOST:DIR is wanted"),
        (["make", "../trixie"], "not the name of a suite"),
        (["make", "trixie", "--hook=x"], "unrecognized arguments"),
        (["make", "trixie", "gcc,make"], "not the name of a package"),
        ([], "required"),
    ],
)
def test_a_wrong_call_exits_2_and_says_what_is_wrong(
    words: list[str], said: str, tmp_path: Path
) -> None:
    done = call(*words, cache=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_suite_that_cannot_be_reached_exits_3_and_leaves_no_root(tmp_path: Path) -> None:
    need_command("mmdebstrap", "mmdebstrap")
    if subprocess.run([ROOTS.with_name("archives")], capture_output=True).returncode != 0:
        pytest.skip("apt of this machine is set to no archive of Debian")
    done = subprocess.run(
        ["unshare", "--net", ROOTS, "make", "trixie"],
        env={**os.environ, "FUAIO_ROOTS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "trixie: unreachable" in done.stderr
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 128 + signal.SIGTERM)]
)
def test_the_status_is_that_of_the_command(script: str, status: int, folder: Path) -> None:
    assert run_in(folder, "sh", "-c", script) == (status, "")


def test_a_run_changes_nothing_in_the_root(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    status, seen = run_in(folder, "sh", "-c", "echo new >/file; rm /bin; cat /file; mount")
    assert (status, seen.splitlines()[0]) == (0, "new")
    assert sorted(folder.rglob("*")) == before
    assert str(folder.parent) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def test_of_the_environment_the_command_has_what_was_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/caller")
    status, seen = run_in(folder, "env", options=["--env", "SAID=a=b c"])
    assert status == 0
    assert "SAID=a=b c" in seen.splitlines()
    assert "of/the/caller" not in seen


def test_an_offline_run_has_no_interface_but_lo(folder: Path) -> None:
    status, seen = run_in(folder, "sed", "1,2d", "/proc/net/dev")
    assert (status, [line.split(":")[0].strip() for line in seen.splitlines()]) == (0, ["lo"])


def test_the_files_that_pips_configuration_names_are_there_to_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "etc").mkdir()
    capped = tmp_path / "constraints.txt"
    capped.write_text("six<=1.16.0\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONSTRAINT", str(capped))
    words = ["run", "--bind", "/usr:/usr:ro", str(folder), "cat", "/etc/pip.conf", str(capped)]
    done = call(*words, cache=tmp_path / "cache")
    assert f"constraint = {capped}" in done.stdout
    assert done.stdout.endswith("six<=1.16.0\n")


def test_a_folder_that_is_bound_keeps_what_was_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    options = ["--bind", f"{tmp_path}/scratch:/scratch"]
    assert run_in(folder, "sh", "-c", "echo kept >/scratch/file", options=options) == (0, "")
    assert (tmp_path / "scratch/file").read_text(encoding="utf-8") == "kept\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("whom", ["itself", "its caller"])
def test_nothing_runs_on_after_a_signal_to(whom: str, number: int, folder: Path) -> None:
    mark = f"fuaio-{os.getpid()}-{number}"
    run = [str(ROOTS), "run", "--offline", "--bind", "/usr:/usr:ro", str(folder)]
    run += ["sh", "-c", f"echo started; sleep 600; : {mark}"]
    if whom == "its caller":
        run = ["sh", "-c", '"$@" & wait', "sh", *run]
    with subprocess.Popen(
        run,
        env={**os.environ, "FUAIO_ROOTS": str(folder.parent / "cache")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        assert process.wait(END_LIMIT_S) != 0
    deadline = time.monotonic() + END_LIMIT_S
    while running(mark):
        assert time.monotonic() < deadline, f"still there: {running(mark)}"
        time.sleep(0.05)  # between two looks at /proc, which tells nobody of an end


def running(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            # It ended meanwhile.
            continue
        if mark in words:
            found.append(words)
    return found
