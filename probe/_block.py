"""Block devices as sysfs tells them: a disk, or what is made of other devices.

Facts: ``/sys/dev/block/MAJOR:MINOR`` leads to a device's folder. ``partition`` marks a partition,
whose queue is that of the folder above. ``slaves`` has what a device is made of. The first word of
``dm/uuid`` says who made a mapping, ``md/level`` what an array is (Linux
Documentation/ABI/testing/sysfs-block-dm, Documentation/admin-guide/md.rst).
``queue/write_cache`` and ``queue/fua`` are what the kernel goes by; anybody who may can write the
first, so virtio's ``cache_type`` and SCSI's ``device/scsi_disk/*/cache_type``, where they are, say
what the device had told (Linux drivers/block/virtio_blk.c, drivers/scsi/sd.c).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fuaio.probe._mapper import target_by_uuid, targets_of
from fuaio.probe._proc import read_text, under

if TYPE_CHECKING:
    from fuaio.probe._machine import Target

# Names that a driver gives, and what such a device is.
_BY_NAME = {
    r"nvme\d+(c\d+)?n\d+": "NVMe",
    r"vd[a-z]+": "virtio-blk",
    r"sd[a-z]+": "SCSI",
    r"zram\d+": "zram",
    r"ram\d+": "RAM disk",
    r"nullb\d+": "null_blk",
    r"loop\d+": "loop",
    r"pmem\d+.*": "persistent memory",
    r"mmcblk\d+": "MMC",
    r"xvd[a-z]+": "Xen",
    r"(nbd|rbd|rnbd|drbd)\d+": "network",
    r"bcache\d+": "bcache",
}
# How the uuid of a mapping begins, see _mapper.py.
_BY_UUID = {
    r"CRYPT-INTEGRITY": "dm-integrity",
    r"CRYPT-VERITY": "dm-verity",
    r"CRYPT-": "dm-crypt",
    r"LVM-": "LVM",
    r"(part\d+-)?mpath-": "multipath",
}


class Block(NamedTuple):
    """A block device.

    Attributes:
        root: What its path lies below.
        name: The kernel's.
        path: Its folder in sysfs, without the root.
        kind: What it is, in words: partition, dm-crypt, md raid1, NVMe.
        members: What it is made of; of a partition, its disk.
        targets: Of a mapping, the names of its targets; empty where they are not known.
        behind: The file of a loop device, where that can be found.
    """

    root: Path
    name: str
    path: str
    kind: str
    members: tuple[Block, ...]
    targets: tuple[str, ...] = ()
    behind: Target | None = None

    def setting(self, name: str) -> str | None:
        """Return what the device's file *name* holds; None where it cannot be read."""
        return read_text(self.root, f"{self.path}/{name}").text

    @property
    def number(self) -> str:
        """MAJOR:MINOR."""
        return self.setting("dev") or ""

    def told_cache(self) -> str | None:
        """Return what the device told of its cache, besides what the kernel goes by; or None."""
        for folder in under(self.root, f"{self.path}/device/scsi_disk").glob("*"):
            return self.setting(f"device/scsi_disk/{folder.name}/cache_type")
        return self.setting("cache_type")

    def has_requests(self) -> bool:
        """Return whether the block layer makes requests for it: what counts and traces them."""
        return under(self.root, f"{self.path}/mq").is_dir()

    def with_queue(self) -> Block:
        """Return the device whose queue requests go through: of a partition its disk."""
        return self.members[0] if self.kind == "partition" and self.members else self

    def disks(self) -> list[Block]:
        """Return the devices at the bottom, from the left, each once."""
        if not self.members:
            return [self]
        found = [disk for member in self.members for disk in member.disks()]
        return list({disk.path: disk for disk in found}.values())

    def words(self) -> str:
        """Return the stack from here down: dm-crypt dm-0 on nvme0n1p2 on NVMe nvme0n1."""
        own = self.name if self.kind == "partition" else f"{self.kind} {self.name}"
        below = " and ".join(member.words() for member in self.members)
        if self.behind is not None:
            below = f"a file on {self.behind.words()}"
        return f"{own} on {below}" if below else own


def block_by_number(root: Path, number: str) -> Block | None:
    """Return the device MAJOR:MINOR; None where sysfs below *root* does not have it."""
    return _block(root, f"/sys/dev/block/{number}")


def block_by_name(root: Path, name: str) -> Block | None:
    """Return the device that is called *name* in /dev or in /dev/mapper."""
    if "/" not in name and (found := _block(root, f"/sys/class/block/{name}")) is not None:
        return found
    for mapping in sorted(under(root, "/sys/class/block").glob("dm-*")):
        found = _block(root, f"/sys/class/block/{mapping.name}")
        if found is not None and found.setting("dm/name") == name:
            return found
    return None


def _block(root: Path, path: str, above: tuple[Path, ...] = ()) -> Block | None:
    """Return the device whose folder *path* leads to; a tree that holds itself ends there."""
    try:
        real = under(root, path).resolve(strict=True)
        inside = "/" + str(real.relative_to(root.resolve()))
    except (OSError, ValueError, RuntimeError):
        return None
    if real in above:
        return None
    bare = Block(root, real.name, inside, "", ())
    kind = _kind(bare)
    if kind == "partition":
        names = [str(Path(inside).parent)]
    else:
        names = [f"{inside}/slaves/{name}" for name in _names(real / "slaves")]
    members = tuple(
        member for name in names if (member := _block(root, name, (*above, real))) is not None
    )
    return bare._replace(kind=kind, members=members, targets=_targets(bare, members))


def _targets(block: Block, members: tuple[Block, ...]) -> tuple[str, ...]:
    uuid = block.setting("dm/uuid")
    if uuid is None:
        return ()
    if block.root == Path("/") and (found := targets_of(block.number)):
        return found
    # LVM calls the parts of something larger, such as a cache or a pool, by other names.
    is_plain = all(member.targets for member in members if member.setting("dm/uuid") is not None)
    return target_by_uuid(uuid) if is_plain else ()


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _kind(block: Block) -> str:
    if block.setting("partition") is not None:
        return "partition"
    uuid = block.setting("dm/uuid")
    if uuid is not None:
        made = (kind for pattern, kind in _BY_UUID.items() if re.match(pattern, uuid))
        return next(made, "device mapper")
    level = block.setting("md/level")
    if level is not None:
        return f"md {level}"
    for pattern, kind in _BY_NAME.items():
        if re.fullmatch(pattern, block.name):
            return kind
    return "disk"
