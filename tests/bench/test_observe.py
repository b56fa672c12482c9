"""What disks are seen to be asked for: on loop devices that are the test's own, and on any disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from block_devices import make_file_system, mounted, told_of_its_cache
from fixtures_root import LoopDevices
from needs import missing, need_command, need_root

from fuaio.bench import TargetError, _observe, _tracing, observe
from fuaio.probe import ENGINES, Fact
from fuaio.probe._target import Judged, judge_target
from fuaio.probe._verdict import Verdict

WRITE_BACK, WRITE_THROUGH = "write back", "write through"
EVERYBODY = (*ENGINES, "pwritev2")


@pytest.fixture
def tracing() -> None:
    """Tracepoints can be had."""
    need_root()
    try:
        os.close(_tracing._mount_tracefs())
    except OSError as error:
        missing(f"tracefs cannot be mounted: {error.strerror}", required=False)


def observed(path: Path, *, destroy_data: bool = False) -> dict[str, Fact]:
    return {fact.name: fact for fact in observe(str(path), destroy_data=destroy_data)}


@contextmanager
def instances() -> Iterator[Path]:
    """The folder with every instance of tracefs."""
    mount = _tracing._mount_tracefs()
    try:
        yield Path(f"/proc/self/fd/{mount}/instances")
    finally:
        os.close(mount)


@pytest.mark.root
@pytest.mark.parametrize(
    ("cache", "flushes", "of_pwritev2"),
    [(WRITE_BACK, ", 1 flush", ", 2 flushes"), (WRITE_THROUGH, "", "")],
)
def test_on_a_raw_device_a_call_of_pwritev2_costs_a_flush_more_than_an_engine(
    tracing: None, loop_device: LoopDevices, cache: str, flushes: str, of_pwritev2: str
) -> None:
    device = loop_device()
    with told_of_its_cache(device, cache):
        found = observed(device, destroy_data=True)
    for engine in ENGINES:
        assert found[f"{engine}_overwrite_asked"].value == f"1 write{flushes}", engine
        assert found[f"{engine}_append_asked"].reason == "no-append"
    assert found["pwritev2_overwrite_asked"].value == f"1 write{of_pwritev2}"
    assert (found["disagreements"].value, found["disagreements"].detail) == (
        *(0, "3 verdicts compared"),
    )


@pytest.mark.root
@pytest.mark.parametrize("cache", [WRITE_BACK, WRITE_THROUGH])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_was_foretold_of_a_file_system_is_seen(
    tracing: None, scratch: Path, loop_device: LoopDevices, kind: str, cache: str
) -> None:
    device = loop_device(320 << 20)
    make_file_system(kind, device)
    with told_of_its_cache(device, cache), mounted(kind, device, scratch / "on") as folder:
        found = observed(folder)
        judged = judge_target(Path("/"), str(folder))
        assert list(folder.glob("*")) in ([], [folder / "lost+found"])
    assert found["disagreements"].value == 0, found["disagreements"].detail
    assert found["disagreements"].detail == "6 verdicts compared"
    # Without a cache the kernel sends no flush, and a file's writes stay in the page cache.
    expected = "emulated" if cache == WRITE_BACK else "none"
    assert {one.word for one in (*judged.overwrites.values(), *judged.appends.values())} == {
        expected
    }
    for who in EVERYBODY:
        asked = str(found[f"{who}_overwrite_asked"].value)
        assert asked == ("1 write, 1 flush" if cache == WRITE_BACK else "1 write")
        assert ("flush" in str(found[f"{who}_append_asked"].value)) == (cache == WRITE_BACK)


@pytest.mark.root
def test_of_a_device_in_memory_bios_are_seen(tracing: None, zram_device: Path) -> None:
    found = observed(zram_device, destroy_data=True)
    for who in EVERYBODY:
        assert found[f"{who}_overwrite_asked"].value == "1 write"


@pytest.mark.root
def test_where_the_kernel_has_no_such_tracepoint_flushes_are_counted(
    tracing: None, loop_device: LoopDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tracing, "_REQUEST", "no_such_event")
    fact = observed(loop_device(), destroy_data=True)["io_uring_overwrite_asked"]
    assert (fact.value, fact.state) == ("1 flush", "yes")
    assert "FUA is not seen: this kernel does not trace disks: No such file" in fact.detail


@pytest.mark.root
def test_a_verdict_that_does_not_hold_is_a_finding(
    tracing: None, loop_device: LoopDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = loop_device()

    def wrong(root: Path, path: str) -> Judged:
        judged = judge_target(root, path)
        judged.overwrites["linux_aio"] = Verdict("native", "x", "ok", "it is wrong", "fua")
        return judged

    monkeypatch.setattr(_observe, "judge_target", wrong)
    fact = observed(device, destroy_data=True)["disagreements"]
    assert (fact.value, fact.detail) == (
        *(1, "linux_aio_overwrite: foretold one FUA write, seen 1 write, 1 flush"),
    )


def test_on_this_disk_what_is_foretold_is_seen(scratch: Path) -> None:
    fact = observed(scratch)["disagreements"]
    # Of a builder's overlay, whose upper folder is not seen, neither is known.
    assert (fact.value, fact.state) in ((0, "yes"), (None, "unknown")), fact.detail
    assert list(scratch.iterdir()) == []


OBSERVES = """
import sys
from fuaio.bench import observe
for fact in observe(sys.argv[1]):
    print(fact.name, fact.state, fact.detail, fact.value, sep="|")
"""


@pytest.mark.root
def test_without_the_right_to_trace_flushes_are_counted_and_it_is_said(
    scratch: Path, loop_device: LoopDevices
) -> None:
    device = loop_device(64 << 20)
    make_file_system("ext4", device)
    with mounted("ext4", device, scratch / "on") as folder:
        without = [need_command("setpriv", "util-linux"), "--bounding-set=-sys_admin"]
        done = subprocess.run(
            [*without, sys.executable, "-c", OBSERVES, folder],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    told = {line.split("|")[0]: line.split("|")[1:] for line in done.stdout.splitlines()}
    for who in EVERYBODY:
        state, detail, value = told[f"{who}_overwrite_asked"]
        assert (state, value) == ("yes", "1 flush")
        assert "FUA is not seen: tracefs cannot be mounted: Operation not permitted" in detail
    assert told["disagreements"][2] == "0"


def test_in_memory_there_is_nothing_to_see() -> None:
    found = observed(Path("/dev/shm"))
    assert {fact.state for fact in found.values()} == {"unknown"}
    assert found["threads_overwrite_asked"].reason == "no-device"


@pytest.mark.root
def test_a_device_is_left_alone_without_the_leave_to_destroy(loop_device: LoopDevices) -> None:
    device = loop_device()
    before = device.read_bytes()
    with pytest.raises(TargetError, match="--destroy-data"):
        observe(str(device))
    assert device.read_bytes() == before


# ---- what the kernel traces ----

TRACE = """\
  python-12 [000] ..... 1.0: tracing_mark_write: fuaio
  python-12 [000] ..... 1.1: block_rq_issue: 259,0 WFS 4096 () 8 + 8 none,0,0 [python]
  python-12 [000] ..... 1.2: block_rq_issue: 259,0 WS 4096 () 8 + 8 none,0,0 [python]
  python-12 [000] ..... 1.3: block_rq_issue: 259,0 FF 0 () 18446744073709551615 + 0 none,0,0 [x]
  python-12 [000] ..... 1.4: block_rq_issue: 259,0 R 4096 () 8 + 8 none,0,0 [python]
  python-12 [000] ..... 2.0: tracing_mark_write: fuaio
  python-12 [000] ..... 2.1: block_bio_queue: 253,0 FWS 0 + 0 [python]
  python-12 [000] ..... 2.2: block_bio_queue: 253,0 FWFSM 16 + 8 [python]
  python-12 [000] ..... 3.0: tracing_mark_write: fuaio
"""


def test_requests_are_told_apart_by_what_the_kernel_writes_of_them(tmp_path: Path) -> None:
    for name in ("trace_clock", "trace_marker"):
        (tmp_path / name).write_text("")
    traced = _tracing.Tracing(tmp_path, [])
    (tmp_path / "trace").write_text(TRACE)
    traced._disks = {"259:0": "nvme0n1", "253:0": "pmem0"}
    assert list(traced._read()) == [
        {"nvme0n1": _tracing.Asked(fua_writes=1, writes=1, flushes=1)},
        {"pmem0": _tracing.Asked(fua_writes=1, writes=0, flushes=2)},
    ]


# ---- nothing is left ----


@pytest.mark.root
def test_no_instance_is_left_after_an_error(tracing: None) -> None:
    # By its own name: others trace at the same time.
    with instances() as folder:
        try:
            with _tracing.tracing([]) as traced:
                name = traced._instance.name
                assert name in os.listdir(folder)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert name not in os.listdir(folder)


TRACES = """
import signal, sys
from fuaio.bench._tracing import tracing
with tracing([]) as traced:
    print(traced._instance.name, flush=True)
    signal.pause()
"""


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_instance_is_left_by_one_who_is_ended(tracing: None, number: signal.Signals) -> None:
    with instances() as folder:
        with subprocess.Popen(
            [sys.executable, "-c", TRACES],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            name = process.stdout.readline().rstrip("\n")
            assert name in os.listdir(folder)
            process.send_signal(number)
            assert process.stdout.read() == ""  # until all who hold it have ended
        assert name not in os.listdir(folder)
