"""The target section on this machine, and on recorded ones. What is observed: tests/bench."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import block_devices
import pytest
from machine_trees import WRITE_BACK, MachineTree, unpack
from needs import need_command

from fuaio.probe import Fact, TargetError, gather, parse_requirement

LoopDevices = Callable[..., Path]

TREES = Path(__file__).parent / "trees"
# Of a recorded machine: a path, and the verdict on an overwrite and on an append there.
RECORDED = [
    ("virtio-ext4", "/", ("emulated", "emulated"), "ext4 on virtio-blk vda"),
    ("virtio-ext4", "/dev/vda", ("emulated", None), "virtio-blk vda"),
    ("virtio-ext4", "/dev/shm/x", ("none", "none"), "tmpfs"),
    ("virtio-ext4", "/dev/zram0", ("none", None), "zram zram0"),
    ("virtio-ext4", "/proc/self", (None, None), "proc"),
    (
        *("virtual-machine", "/run/home/f", ("native", "emulated")),
        "xfs on dm-crypt dm-0 on NVMe nvme1n1",
    ),
    ("virtual-machine", "/dev/mapper/home", ("native", None), "dm-crypt dm-0 on NVMe nvme1n1"),
    ("virtual-machine", "/run/scsi/f", ("native", "emulated"), "ext4 on SCSI sda"),
    ("virtual-machine", "/run/wt/f", ("not_needed", "not_needed"), "ext4 on virtio-blk vdc"),
    ("virtual-machine", "/run/btrfs/f", ("emulated", "emulated"), "btrfs on NVMe nvme2n1"),
    ("virtual-machine", "/run/flush/f", ("none", "none"), "ext4 on SCSI sdb"),  # nobarrier
    ("virtual-machine", "/run/scsi/m/f", ("none", "none"), "overlay on ext4 on SCSI sda"),
    (
        *("virtual-machine", "/run/loop/f", ("emulated", "emulated")),
        "ext4 on loop loop0 on a file on xfs on dm-crypt dm-0 on NVMe nvme1n1",
    ),
    ("virtual-machine", "/tmp/f", ("none", "none"), "tmpfs"),
]


def facts(path: str | Path, root: Path = Path("/")) -> dict[str, Fact]:
    report = gather(["target"], root, str(path))
    return {fact.name: fact for fact in report.sections["target"]}


@pytest.mark.parametrize(("machine", "path", "expected", "stack"), RECORDED)
def test_a_recorded_machine_is_judged_as_it_was(
    tmp_path: Path,
    machine: str,
    path: str,
    expected: tuple[str | None, str | None],
    stack: str,
) -> None:
    root = unpack((TREES / machine / "tree.txt").read_text(), tmp_path)
    found = facts(path, root)
    assert (found["overwrite"].value, found["append"].value) == expected
    assert found["stack"].value == stack


def test_every_recorded_machine_is_judged() -> None:
    assert {folder.name for folder in TREES.iterdir()} == {machine for machine, *_ in RECORDED}


# ---- this machine ----


@pytest.mark.root
def test_below_a_loop_device_the_stack_goes_on_with_its_file(loop_device: LoopDevices) -> None:
    device = loop_device(8 << 20)
    found = facts(device)
    assert str(found["stack"].value).startswith(f"loop {device.name} on a file on ")
    assert found["kind"].value == "block device"
    assert found["disks"].value == device.name
    assert found["write_cache"].value == WRITE_BACK


COVERED = """
set -e
mkdir "$1/inside" "$1/other"
mount -t tmpfs tmpfs "$1/inside"
truncate -s 8M "$1/inside/image" "$1/other/image"
mkdir "$1/inside/other"
device=$(losetup --find --show "$1/inside/image")
trap 'losetup --detach "$device"' EXIT
mount --bind "$1/other" "$1/inside"  # the name leads to another file now
"$2" -c "$3" "$device"
"""
TOLD = """
import sys
from fuaio.probe import gather
for fact in gather(["target"], target=sys.argv[1]).sections["target"]:
    print(fact.name, fact.value)
"""


@pytest.mark.root
def test_another_file_of_the_same_name_is_not_taken_for_the_one_behind_a_loop_device(
    scratch: Path,
) -> None:
    words = ["unshare", "--mount", "sh", "-c", COVERED, "sh", str(scratch), sys.executable, TOLD]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert (told["overwrite"], told["disks"].startswith("loop")) == ("None", True)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_journal_on_another_device_is_seen(
    loop_device: LoopDevices, scratch: Path, kind: str
) -> None:
    data, journal = loop_device(400 << 20), loop_device(64 << 20)
    if kind == "ext4":
        make = need_command("mkfs.ext4", "e2fsprogs")
        commands = [[make, "-q", "-b", "4096", "-O", "journal_dev", str(journal)]]
        commands += [[make, "-q", "-b", "4096", "-J", f"device={journal}", str(data)]]
        options = "nosuid,nodev"
    else:
        commands = [
            [need_command("mkfs.xfs", "xfsprogs"), "-q", "-l", f"logdev={journal}", str(data)]
        ]
        options = f"nosuid,nodev,logdev={journal}"
    for command in commands:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with block_devices.mounted(kind, data, scratch / "mounted", options=options) as folder:
        found = facts(folder)
    assert found["overwrite"].value == "emulated"  # by fsync of the file behind
    if kind == "ext4":
        assert (found["append"].value, found["append"].reason) == (None, "journal")
    else:
        assert found["append"].value == "emulated"
        assert found["disks"].value == f"{data.name} {journal.name}"


def test_a_file_its_folder_and_a_link_to_it_lie_on_the_same_stack(scratch: Path) -> None:
    file, link = scratch / "file", scratch / "link"
    file.write_bytes(b"x")
    link.symlink_to(file)
    told = [facts(path) for path in (file, scratch, link)]
    assert len({fact["stack"] for fact in told}) == len({fact["overwrite"] for fact in told}) == 1
    assert [fact["path"].value for fact in told] == [str(file), str(scratch), str(file)]
    assert [fact["kind"].value for fact in told] == ["file", "folder", "file"]


def test_a_deleted_files_descriptor_is_judged_as_the_file_was(scratch: Path) -> None:
    file = scratch / "file"
    file.write_bytes(b"x")
    before = facts(file)
    with file.open("rb") as held:
        file.unlink()
        after = facts(f"/proc/self/fd/{held.fileno()}")
    assert {name: after[name] for name in after if name != "path"} == {
        name: before[name] for name in before if name != "path"
    }


REMOVED = """
import os, sys
from fuaio.probe import gather
os.rmdir(sys.argv[1])
for fact in gather(["target"], target=".").sections["target"]:
    print(fact.name, fact.value)
"""


def test_the_current_folder_may_have_been_removed(scratch: Path) -> None:
    folder = scratch / "gone"
    folder.mkdir()
    before = facts(folder)
    words = [sys.executable, "-c", REMOVED, str(folder)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("stack", "overwrite", "append"):
        assert f"{name} {before[name].value}\n" in done.stdout


def test_looking_changes_nothing_and_leaves_no_descriptor(scratch: Path) -> None:
    file = scratch / "file"
    file.write_bytes(b"x")
    os.utime(file, (1, 1))
    before = os.listdir("/proc/self/fd")
    facts(file)
    assert os.listdir("/proc/self/fd") == before
    assert (file.stat().st_atime, file.stat().st_mtime, file.read_bytes()) == (1, 1, b"x")


def test_a_name_that_is_no_utf_8_can_be_asked_for_by_a_requirement(scratch: Path) -> None:
    folder = os.fsdecode(bytes(scratch) + b"/a\xffb")
    os.mkdir(folder)
    verdicts = "native,not_needed,emulated,none"
    requirement = parse_requirement(f"fua:{folder}={verdicts}")
    assert requirement.decide(gather(["target"], target=folder).facts()).decision == "met"


@pytest.mark.parametrize("kind", ["nothing", "fifo", "character device", "a name with a NUL"])
def test_what_is_no_place_to_write_to_is_refused(scratch: Path, kind: str) -> None:
    path = str(scratch / "it")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "character device":
        path = "/dev/null"
    elif kind == "a name with a NUL":
        path = "a\0b"
    with pytest.raises(TargetError, match=r"neither a file|No such file|null"):
        facts(path)


def test_a_table_of_5000_mounts_is_read_in_no_time(tmp_path: Path) -> None:
    machine = MachineTree(tmp_path)
    machine.disk("sda", "8:0", WRITE_BACK)
    lines = [f"{at} 1 8:0 / /mnt/{at} rw - ext4 /dev/sda rw" for at in range(5000)]
    machine.write("proc/self/mountinfo", "\n".join(lines))
    start = time.process_time()
    assert facts("/mnt/4999/file", tmp_path)["mount_point"].value == "/mnt/4999"
    assert time.process_time() - start < 0.5


# Sanitizers read their options from /proc when a process begins, so it is hidden later.
HIDDEN = """
import subprocess, sys
from fuaio.probe import gather
subprocess.run(["mount", "-t", "tmpfs", "none", sys.argv[2]], check=True)
for fact in gather(["target"], target=sys.argv[1]).sections["target"]:
    print(fact.name, fact.state, fact.reason, fact.value)
"""


@pytest.mark.root
@pytest.mark.parametrize("hidden", ["/sys", "/proc"])
def test_in_a_container_without_them_facts_are_unknown_with_reasons(
    scratch: Path, hidden: str
) -> None:
    words = ["unshare", "--mount", sys.executable, "-c", HIDDEN, str(scratch), hidden]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert_unknown_with_reasons(done.stdout)


CHROOT = """
import os, sys
from fuaio.probe import gather
gather(["target"], target="/")  # imports all that it needs
os.chroot(sys.argv[1])
os.chdir("/")
for fact in gather(["target"], target="/").sections["target"]:
    print(fact.name, fact.state, fact.reason, fact.value)
"""


@pytest.mark.root
def test_in_a_chroot_that_is_no_mount_facts_are_unknown_with_reasons(scratch: Path) -> None:
    (scratch / "proc").mkdir()
    mount = f"mount -t proc proc {scratch}/proc"
    script = f"{mount} && exec {sys.executable} -c '{CHROOT}' {scratch}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "mount_point unknown not-there" in done.stdout
    assert_unknown_with_reasons(done.stdout)


def assert_unknown_with_reasons(text: str) -> None:
    told = {line.split()[0]: line.split()[1:3] for line in text.splitlines()}
    assert told["overwrite"][0] == told["append"][0] == "unknown"
    assert all(reason != "ok" for state, reason in told.values() if state == "unknown")
