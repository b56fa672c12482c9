"""The verdict on made-up machines: which layer decides, and what a durable write comes down to."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine_trees import WRITE_BACK, WRITE_THROUGH, MachineTree

from fuaio.probe import Fact, gather

PLACE = "/data/file"


@pytest.fixture
def machine(tmp_path: Path) -> MachineTree:
    return MachineTree(tmp_path)


def facts(machine: MachineTree, path: str = PLACE) -> dict[str, Fact]:
    report = gather(["target"], machine.root, path)
    return {fact.name: fact for fact in report.sections["target"]}


def verdicts(machine: MachineTree, path: str = PLACE) -> tuple[object, object]:
    found = facts(machine, path)
    return found["overwrite"].value, found["append"].value


def nvme(machine: MachineTree) -> None:
    """Add a disk with a volatile cache that takes FUA."""
    machine.disk("nvme0n1", "259:0", WRITE_BACK, fua=1)


# ---- file systems ----


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize(
    ("cache", "fua", "expected"),
    [
        (WRITE_BACK, 1, ("native", "emulated")),
        (WRITE_BACK, 0, ("emulated", "emulated")),
        (WRITE_THROUGH, 0, ("not_needed", "not_needed")),
        (WRITE_THROUGH, 1, ("not_needed", "not_needed")),
    ],
)
def test_an_overwrite_is_what_the_disk_can_and_an_append_takes_a_flush(
    machine: MachineTree, kind: str, cache: str, fua: int, expected: tuple[str, str]
) -> None:
    machine.disk("nvme0n1", "259:0", cache, fua=fua)
    machine.partition("nvme0n1", "nvme0n1p2", "259:2")
    machine.mount("/data", kind, "259:2")
    assert verdicts(machine) == expected


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("ext4", "rw,data=journal", ("emulated", "emulated")),
        ("ext4", "rw,nobarrier", ("native", "none")),
        ("ext4", "rw,data=journal,nobarrier", ("none", "none")),
        ("xfs", "rw,sync", ("native", "emulated")),
        ("xfs", "rw,rtdev=/dev/sdb", (None, None)),
        ("xfs", "rw,dax=always", (None, None)),
        ("xfs", "rw,dax=inode", ("native", "emulated")),
        ("ext4", "ro", (None, None)),
        ("btrfs", "rw", ("emulated", "emulated")),
        ("btrfs", "rw,nodatacow", ("emulated", "emulated")),
        ("btrfs", "rw,nobarrier", ("none", "none")),
        ("bcachefs", "rw", (None, None)),
        ("vfat", "rw", (None, None)),
    ],
)
def test_the_file_system_and_its_options_decide_over_a_disk_that_takes_fua(
    machine: MachineTree, kind: str, options: str, expected: tuple[str | None, str | None]
) -> None:
    nvme(machine)
    machine.mount("/data", kind, "259:0", options=options, source="/dev/nvme0n1")
    assert verdicts(machine) == expected


def test_ext4_without_barriers_on_a_disk_without_fua_promises_nothing(machine: MachineTree) -> None:
    machine.disk("sda", "8:0", WRITE_BACK)
    machine.mount("/data", "ext4", "8:0", options="rw,nobarrier")
    assert verdicts(machine) == ("none", "none")
    assert facts(machine)["overwrite"].source == "ext4"


def test_what_ext4_tells_in_full_counts_as_its_options(machine: MachineTree) -> None:
    nvme(machine)
    machine.mount("/data", "ext4", "259:0")
    machine.write("proc/fs/ext4/nvme0n1/options", "rw\nnobarrier\ndata=ordered")
    assert verdicts(machine) == ("native", "none")


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_what_is_in_memory_is_not_durable(machine: MachineTree, kind: str) -> None:
    machine.mount("/data", kind, "0:30")
    assert verdicts(machine) == ("none", "none")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nfs4", "network"),
        ("cifs", "network"),
        ("9p", "network"),
        ("virtiofs", "network"),
        ("fuse", "fuse"),
        ("fuse.sshfs", "fuse"),
        ("fuseblk", "fuse"),
    ],
)
def test_what_another_side_decides_is_unknown_with_the_reason(
    machine: MachineTree, kind: str, reason: str
) -> None:
    machine.mount("/data", kind, "0:30")
    assert [facts(machine)[name].reason for name in ("overwrite", "append")] == [reason] * 2


def test_overlay_is_what_its_upper_folder_is(machine: MachineTree) -> None:
    nvme(machine)
    machine.mount("/", "ext4", "259:0")
    machine.mount("/data", "overlay", "0:40", options="rw,lowerdir=/l,upperdir=/u,workdir=/w")
    assert verdicts(machine) == ("native", "emulated")
    assert facts(machine)["stack"].value == "overlay on ext4 on NVMe nvme0n1"


@pytest.mark.parametrize("kind", ["overlay", "btrfs"])
def test_where_an_asynchronous_flag_is_in_doubt_the_engines_flush(
    machine: MachineTree, kind: str
) -> None:
    nvme(machine)
    machine.mount("/", "ext4", "259:0")
    machine.mount("/data", kind, "0:40", options="rw,upperdir=/u", source="/dev/nvme0n1")
    found = facts(machine)
    assert found["io_uring_overwrite"].value == found["linux_aio_overwrite"].value == "emulated"
    assert found["threads_overwrite"].value == ("native" if kind == "overlay" else "emulated")


@pytest.mark.parametrize("option", ["volatile", "fsync=volatile"])  # as later kernels tell it
def test_a_volatile_overlay_promises_nothing(machine: MachineTree, option: str) -> None:
    nvme(machine)
    machine.mount("/", "ext4", "259:0")
    machine.mount("/data", "overlay", "0:40", options=f"rw,upperdir=/u,{option}")
    assert verdicts(machine) == ("none", "none")
    assert "volatile" in facts(machine)["overwrite"].detail


def test_an_overlay_whose_upper_folder_is_not_told_is_unknown(machine: MachineTree) -> None:
    machine.mount("/data", "overlay", "0:40", options="rw,lowerdir=/l")
    assert verdicts(machine) == (None, None)


def test_every_disk_of_a_btrfs_counts(machine: MachineTree) -> None:
    machine.disk("sda", "8:0", WRITE_THROUGH)
    machine.disk("sdb", "8:16", WRITE_BACK)
    machine.mount("/data", "btrfs", "0:40", source="/dev/sda")
    assert verdicts(machine) == ("not_needed", "not_needed")
    for name in ("sda", "sdb"):
        machine.write(f"sys/fs/btrfs/1b2c/devices/{name}", "")
    assert verdicts(machine) == ("emulated", "emulated")
    assert facts(machine)["disks"].value == "sda sdb"
    assert facts(machine)["write_cache"].value == "mixed"


# ---- devices ----


@pytest.mark.parametrize(
    ("cache", "fua", "expected"),
    [
        (WRITE_BACK, 1, ("native", "native", "emulated")),
        (WRITE_BACK, 0, ("emulated", "emulated", "emulated")),
        (WRITE_THROUGH, 0, ("not_needed", "not_needed", "not_needed")),
    ],
)
def test_on_a_raw_device_the_threads_engine_flushes_where_there_is_a_cache(
    machine: MachineTree, cache: str, fua: int, expected: tuple[str, str, str]
) -> None:
    machine.disk("nvme0n1", "259:0", cache, fua=fua)
    found = facts(machine, "/dev/nvme0n1")
    names = ("io_uring_overwrite", "linux_aio_overwrite", "threads_overwrite")
    assert tuple(found[name].value for name in names) == expected


def test_a_device_does_not_grow(machine: MachineTree) -> None:
    nvme(machine)
    found = facts(machine, "/dev/nvme0n1")
    assert (found["append"].state, found["append"].reason) == ("unknown", "no-append")


@pytest.mark.parametrize(
    ("name", "kind"), [("zram0", "zram"), ("ram0", "RAM disk"), ("nullb0", "null_blk")]
)
def test_a_disk_in_memory_promises_nothing_whatever_it_says(
    machine: MachineTree, name: str, kind: str
) -> None:
    machine.disk(name, "252:0", WRITE_BACK, fua=1)
    machine.mount("/data", "ext4", "252:0")
    assert verdicts(machine) == ("none", "none")
    assert facts(machine)["stack"].value == f"ext4 on {kind} {name}"


def test_a_cache_that_the_kernel_was_talked_out_of_is_not_no_cache(machine: MachineTree) -> None:
    machine.disk("vda", "254:0", WRITE_THROUGH, cache_type="write back")
    machine.mount("/data", "xfs", "254:0")
    assert verdicts(machine) == ("none", "none")
    machine.write("sys/devices/block/vda/cache_type", "write through")
    assert verdicts(machine) == ("not_needed", "not_needed")
    assert "as the kernel sees it" in facts(machine)["overwrite"].detail


def test_what_a_scsi_disk_told_of_its_cache_is_read_too(machine: MachineTree) -> None:
    folder = machine.disk("sda", "8:0", WRITE_THROUGH)
    machine.write(f"{folder}/device/scsi_disk/0:0:0:0/cache_type", "write back")
    machine.mount("/data", "xfs", "8:0")
    assert verdicts(machine) == ("none", "none")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "network") for name in ("nbd1", "rbd0", "rnbd0", "drbd0")),
        *((name, "device") for name in ("zd0", "ublkb0", "mtdblock0")),
    ],
)
@pytest.mark.parametrize("cache", [WRITE_BACK, WRITE_THROUGH])
def test_a_device_whose_storage_is_not_seen_is_unknown(
    machine: MachineTree, name: str, reason: str, cache: str
) -> None:
    machine.disk(name, "43:0", cache, fua=1)
    machine.mount("/data", "xfs", "43:0")
    found = facts(machine)
    assert (found["overwrite"].reason, found["append"].reason) == (reason, reason)


def test_a_device_that_takes_no_writes_has_no_verdict(machine: MachineTree) -> None:
    machine.disk("sda", "8:0", WRITE_BACK, fua=1, ro="1")
    assert facts(machine, "/dev/sda")["overwrite"].reason == "read-only"


def test_a_disk_that_says_nothing_of_a_cache_is_unknown(machine: MachineTree) -> None:
    machine.disk("sda", "8:0", None)
    machine.mount("/data", "xfs", "8:0")
    assert verdicts(machine) == (None, None)


def test_a_mapping_is_what_its_disk_is(machine: MachineTree) -> None:
    nvme(machine)
    machine.partition("nvme0n1", "nvme0n1p2", "259:2")
    machine.disk(
        "dm-0", "253:0", WRITE_BACK, fua=1, dm__uuid="CRYPT-LUKS2-1b2c-home", dm__name="home"
    )
    machine.made_of("dm-0", "nvme0n1p2")
    machine.mount("/data", "xfs", "253:0")
    assert verdicts(machine) == ("native", "emulated")
    assert verdicts(machine, "/dev/mapper/home") == ("native", None)
    assert facts(machine)["summary"].value == (
        "xfs on dm-crypt dm-0 on nvme0n1p2 on NVMe nvme0n1: "
        "overwrites are one FUA write; appends are a write and a flush"
    )


VOLUME = "LVM-" + "Xy9" * 21 + "z"


@pytest.mark.parametrize(
    ("uuid", "kind", "expected"),
    [
        (VOLUME, "LVM", "native"),
        (f"{VOLUME}-cvol", "LVM", None),
        ("mpath-3500", "multipath", "native"),
        ("part1-mpath-3500", "multipath", "native"),
        ("CRYPT-LUKS2-1b2c-home", "dm-crypt", "native"),
        ("CRYPT-PLAIN-home", "dm-crypt", "native"),
        ("CRYPT-INTEGRITY-home", "dm-integrity", None),
        ("CRYPT-VERITY-1b2c-home", "dm-verity", None),
        ("", "device mapper", None),
    ],
)
def test_only_of_known_mappings_it_is_known_what_they_make_of_fua(
    machine: MachineTree, uuid: str, kind: str, expected: str | None
) -> None:
    nvme(machine)
    machine.disk("dm-0", "253:0", WRITE_BACK, fua=1, dm__uuid=uuid, dm__name="x")
    machine.made_of("dm-0", "nvme0n1")
    machine.mount("/data", "xfs", "253:0")
    found = facts(machine)
    assert found["overwrite"].value == expected
    assert found["overwrite"].reason == ("ok" if expected else "device")
    assert found["stack"].value == f"xfs on {kind} dm-0 on NVMe nvme0n1"


def test_a_volume_of_lvm_that_is_made_of_a_cache_is_not_taken_for_a_plain_one(
    machine: MachineTree,
) -> None:
    nvme(machine)
    for number, uuid in enumerate((f"{VOLUME}-corig", f"{VOLUME}-cdata", VOLUME)):
        machine.disk(f"dm-{number}", f"253:{number}", WRITE_BACK, fua=1, dm__uuid=uuid)
        machine.made_of(f"dm-{number}", *(("dm-0", "dm-1") if uuid == VOLUME else ("nvme0n1",)))
    machine.mount("/data", "xfs", "253:2")
    assert verdicts(machine) == (None, None)


def test_what_caches_by_itself_is_unknown(machine: MachineTree) -> None:
    nvme(machine)
    machine.disk("bcache0", "252:0", WRITE_BACK, fua=1)
    machine.made_of("bcache0", "nvme0n1")
    machine.mount("/data", "xfs", "252:0")
    assert facts(machine)["overwrite"].reason == "device"


@pytest.mark.parametrize(
    ("level", "policy", "expected"),
    [
        ("raid5", "resync", "native"),
        ("raid5", "journal", None),
        ("raid5", "ppl", None),
        ("raid10", "bitmap", "native"),
        ("faulty", "unknown", None),
    ],
)
def test_an_array_with_a_journal_of_its_own_is_unknown(
    machine: MachineTree, level: str, policy: str, expected: str | None
) -> None:
    nvme(machine)
    files = {"md__level": level, "md__consistency_policy": policy}
    machine.disk("md0", "9:0", WRITE_BACK, fua=1, **files)
    machine.made_of("md0", "nvme0n1")
    machine.mount("/data", "xfs", "9:0")
    assert verdicts(machine)[0] == expected


def test_a_mapping_that_hides_its_disks_cache_promises_nothing(machine: MachineTree) -> None:
    nvme(machine)
    machine.disk("dm-0", "253:0", WRITE_THROUGH, dm__uuid="mpath-35000c", dm__name="x")
    machine.made_of("dm-0", "nvme0n1")
    machine.mount("/data", "xfs", "253:0")
    assert verdicts(machine) == ("none", "none")
    assert facts(machine)["overwrite"].source == "dm-0"


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((WRITE_BACK, 1), "native"),
        ((WRITE_THROUGH, 0), "native"),
        ((WRITE_BACK, 0), "emulated"),
        ((None, 0), None),
    ],
)
def test_the_worst_member_of_an_array_counts(
    machine: MachineTree, second: tuple[str | None, int], expected: str | None
) -> None:
    nvme(machine)
    machine.disk("sdb", "8:16", second[0], fua=second[1])
    machine.disk("md0", "9:0", WRITE_BACK, fua=1, md__level="raid1")
    machine.made_of("md0", "nvme0n1", "sdb")
    machine.mount("/data", "ext4", "9:0")
    assert verdicts(machine)[0] == expected
    assert facts(machine)["stack"].value == "ext4 on md raid1 md0 on NVMe nvme0n1 and SCSI sdb"


@pytest.mark.parametrize(
    ("below", "cache", "dio", "expected"),
    [
        ("ext4", WRITE_BACK, "0", "emulated"),
        ("ext4", WRITE_THROUGH, "0", "none"),
        ("ext4", WRITE_BACK, "1", "emulated"),
        ("ext4", WRITE_THROUGH, "1", "none"),
        ("tmpfs", WRITE_BACK, "0", "none"),
        ("nfs4", WRITE_BACK, "0", None),
    ],
)
def test_a_loop_device_is_no_better_than_its_file(
    machine: MachineTree, below: str, cache: str, dio: str, expected: str | None
) -> None:
    nvme(machine)
    machine.mount("/", below, "259:0")
    machine.disk("loop3", "7:3", cache, loop__backing_file="/images/a", loop__dio=dio)
    machine.mount("/data", "xfs", "7:3")
    assert verdicts(machine)[0] == expected


def test_of_a_loop_device_that_nobody_uses_it_is_said(machine: MachineTree) -> None:
    machine.disk("loop3", "7:3", WRITE_BACK)
    assert facts(machine, "/dev/loop3")["overwrite"].detail == (
        "loop loop3: no file is attached to loop3"
    )


def test_a_loop_device_that_hides_nothing_needs_no_flush(machine: MachineTree) -> None:
    machine.disk("sda", "8:0", WRITE_THROUGH)
    machine.mount("/", "ext4", "8:0")
    machine.disk("loop3", "7:3", WRITE_THROUGH, loop__backing_file="/images/a", loop__dio="1")
    assert verdicts(machine, "/dev/loop3")[0] == "not_needed"
    machine.write("sys/devices/block/loop3/loop/dio", "0")
    assert verdicts(machine, "/dev/loop3")[0] == "none"


def test_a_stack_without_an_end_ends(machine: MachineTree) -> None:
    machine.disk("dm-0", "253:0", WRITE_BACK, fua=1, dm__uuid="", dm__name="x")
    machine.made_of("dm-0", "dm-0")
    machine.disk("loop0", "7:0", WRITE_BACK, loop__backing_file="/data/itself", loop__dio="0")
    machine.mount("/data", "ext4", "7:0")
    machine.disk("dm-1", "253:1", WRITE_BACK, dm__uuid="", dm__name="y")
    for number in range(4):
        machine.disk(f"md{number}", f"9:{number}", WRITE_BACK, md__level="raid1")
        machine.made_of(f"md{number}", "dm-1")
        machine.made_of("dm-1", f"md{number}")
    assert facts(machine, "/dev/dm-0")["stack"].state == "yes"
    assert facts(machine, "/dev/dm-1")["stack"].state == "yes"
    assert verdicts(machine) == (None, None)
    assert "file behind loop0" in facts(machine)["overwrite"].detail


# ---- journals on other devices ----


@pytest.mark.parametrize(
    ("data", "log", "expected"),
    [
        ((WRITE_BACK, 1), (WRITE_BACK, 0), ("native", "emulated")),
        ((WRITE_THROUGH, 0), (WRITE_BACK, 1), ("not_needed", "emulated")),
        ((WRITE_THROUGH, 0), (WRITE_THROUGH, 0), ("not_needed", "not_needed")),
    ],
)
def test_the_log_device_of_xfs_takes_the_flush_of_an_append(
    machine: MachineTree, data: tuple[str, int], log: tuple[str, int], expected: tuple[str, str]
) -> None:
    machine.disk("nvme0n1", "259:0", data[0], fua=data[1])
    machine.disk("nvme1n1", "259:1", log[0], fua=log[1])
    machine.mount("/data", "xfs", "259:0", options="rw,logdev=/dev/nvme1n1")
    assert verdicts(machine) == expected
    found = facts(machine)
    assert found["disks"].value == "nvme0n1 nvme1n1"
    assert found["stack"].value == "xfs with its journal on NVMe nvme1n1 on NVMe nvme0n1"


def test_a_log_in_memory_promises_nothing_of_appends(machine: MachineTree) -> None:
    nvme(machine)
    machine.disk("zram0", "252:0", WRITE_THROUGH)
    machine.mount("/data", "xfs", "259:0", options="rw,logdev=/dev/zram0")
    assert verdicts(machine) == ("native", "none")


def test_a_log_device_that_is_not_found_leaves_appends_unknown(machine: MachineTree) -> None:
    nvme(machine)
    machine.mount("/data", "xfs", "259:0", options="rw,logdev=/dev/vg/log")
    assert verdicts(machine) == ("native", None)
    assert facts(machine)["append"].reason == "journal"


@pytest.mark.parametrize(
    ("task", "journal", "expected"),
    [("213", "nvme0n1-8", "emulated"), ("213", "sdb", None), ("<none>", "sdb", "emulated")],
)
def test_an_ext4_whose_journal_is_elsewhere_leaves_appends_unknown(
    machine: MachineTree, task: str, journal: str, expected: str | None
) -> None:
    nvme(machine)
    machine.mount("/data", "ext4", "259:0")
    machine.write("sys/fs/ext4/nvme0n1/journal_task", task)
    machine.write(f"proc/fs/jbd2/{journal}/info", "")
    assert verdicts(machine) == ("native", expected)


# ---- what is not there ----


def test_an_automount_that_nobody_has_followed_is_unknown(machine: MachineTree) -> None:
    machine.mount("/data", "autofs", "0:40")
    assert facts(machine)["overwrite"].reason == "not-there"


def test_a_tree_without_mounts_leaves_everything_unknown_with_a_reason(tmp_path: Path) -> None:
    for fact in gather(["target"], tmp_path, PLACE).sections["target"]:
        if fact.name not in ("path", "summary"):
            assert (fact.state, fact.value) == ("unknown", None), fact
            assert fact.reason not in ("", "ok"), fact


def test_of_several_mounts_on_a_point_the_last_one_counts(machine: MachineTree) -> None:
    nvme(machine)
    machine.mount("/", "ext4", "259:0")
    machine.mount("/data", "xfs", "259:0")
    machine.mount("/data", "tmpfs", "0:40")
    machine.mount("/data2", "nfs4", "0:41")
    assert verdicts(machine) == ("none", "none")
    assert verdicts(machine, "/dat") == ("native", "emulated")


def test_a_mount_point_with_a_space_is_found(machine: MachineTree) -> None:
    nvme(machine)
    machine.mount(r"/my\040disk", "xfs", "259:0")
    assert verdicts(machine, "/my disk/file") == ("native", "emulated")


@pytest.mark.parametrize("name", ["a\rb", "a b ", "a\x85b", "a\u2028b"])
def test_a_mount_point_with_what_else_ends_lines_is_found(machine: MachineTree, name: str) -> None:
    nvme(machine)
    machine.mount("/" + name.replace(" ", r"\040"), "xfs", "259:0")
    assert verdicts(machine, f"/{name}/file") == ("native", "emulated")


def test_a_broken_line_of_the_mount_table_is_passed_over(machine: MachineTree) -> None:
    nvme(machine)
    machine.mount("/data", "xfs", "259:0")
    text = (machine.root / "proc/self/mountinfo").read_text()
    line = "2 8:0 / /data rw"
    broken = ["", "x", "1 2 3", f"1 {line} -", f"1 {line} - ext4", f"x {line} - tmpfs a rw"]
    machine.write("proc/self/mountinfo", "\n".join([text, *broken]))
    assert verdicts(machine) == ("native", "emulated")
