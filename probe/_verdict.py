"""What a durable write comes down to, layer by layer: judged from what was read, without a write.

Facts:
- A raw block device: RWF_DSYNC with ``O_DIRECT`` sets FUA on the request, always.
- XFS and ext4: FUA for an overwrite with ``O_DIRECT`` if the device takes it or has no volatile
  cache; else, and for whatever changes metadata, the write is followed by fsync's work: a commit
  and a flush (Linux fs/iomap/direct-io.c, iomap_dio_bio_iter; fs/ext4/file.c). Mounted ``sync``
  they do the same.
- btrfs calls fsync behind a synchronous write. Of some asynchronous ones, on a disk that takes
  FUA, it wrote the data with FUA and left out fsync (seen: Linux 6.1; nodatacow up to 7.2).
- overlayfs hands the write to the upper file system; mounted ``volatile`` it drops the promise.
- The block layer drops FUA and flushes where the device has no volatile cache, as it knows, and
  makes a write and a flush of FUA where the device has only flushes (Linux block/blk-flush.c).
- The mappings and arrays below pass both on to their members. A loop device makes an fsync of a
  flush. What has a log or a cache of its own (dm-cache, dm-writecache, dm-integrity, bcache, an
  array with a journal) makes something else of FUA, which no file tells.
- A file system's journal may lie on another device, which then takes its flush.

What this means here: a layer above decides what is asked for, the layers below what becomes of it,
and the worst of several members counts. What is not in the list is unknown, and never a guess.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from fuaio.probe._block import Block
from fuaio.probe._machine import Target
from fuaio.probe._mounts import Mount

Word = Literal["unknown", "none", "emulated", "native", "not_needed"]
Asked = Literal["unknown", "nothing", "flush", "fua"]

_WORST_FIRST: tuple[Word, ...] = ("unknown", "none", "emulated", "native", "not_needed")
_MEMORY_SYSTEMS = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs")
_NETWORK_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "glusterfs", "virtiofs")
_OF_IOMAP = ("ext4", "ext3", "ext2", "xfs")
_MEMORY_DEVICES = ("zram", "RAM disk", "null_blk")
_DISKS = (*_MEMORY_DEVICES, "NVMe", "virtio-blk", "SCSI", "MMC", "Xen", "persistent memory")
_TARGETS_THAT_PASS_ON = {"linear", "striped", "crypt", "multipath"}
_ARRAYS_THAT_PASS_ON = (
    *("md linear", "md raid0", "md raid1", "md raid4", "md raid5", "md raid6", "md raid10"),
)
_WRITE_THROUGH = "write through"


class Verdict(NamedTuple):
    """What reaches the medium.

    Attributes:
        word: native: one FUA write; not_needed: no volatile cache; emulated: a flush after the
            write; none: nothing that survives a power cut; unknown.
        layer: The one that decided: a file system's type, or a device's name.
        reason: One word; ok where the verdict is known.
        why: The rest of a sentence that begins with the stack.
        asked: What the disks are asked for besides the write: FUA alone, a flush, or nothing.
    """

    word: Word
    layer: str
    reason: str
    why: str
    asked: Asked

    def worth(self) -> int:
        """Return a number that is higher the better it is for who writes."""
        return _WORST_FIRST.index(self.word)


class Write(NamedTuple):
    """A durable write as it is asked for.

    Attributes:
        flagged: With RWF_DSYNC; otherwise a plain write, and then fdatasync.
        direct: With ``O_DIRECT``.
        appends: The file grows, or space is written for the first time.
    """

    flagged: bool
    direct: bool
    appends: bool


def judge(target: Target, write: Write) -> Verdict:
    """Return what *write* comes down to on *target*.

    Args:
        target: Where it goes.
        write: How it is asked for.
    """
    if target.mount is None:
        if target.kind != "block device":
            return unknown("mount", *target.why_no_mount)
        return _on_device(target, write)
    mount, name = target.mount, target.mount.file_system
    if name in _MEMORY_SYSTEMS:
        return _none(name, "what it holds is in memory and ends with the power", "unknown")
    if name in _NETWORK_SYSTEMS:
        return unknown(name, "network", "what the other side does with a flush cannot be seen")
    if name.partition(".")[0] in ("fuse", "fuseblk"):
        return unknown(name, "fuse", "what its server does with a flush cannot be seen")
    if name == "autofs":
        return unknown(name, "not-there", "nothing is mounted there yet; name what is inside")
    if mount.option("ro") is not None:
        return unknown(name, "read-only", "it is mounted read only")
    if name == "overlay":
        return _on_overlay(mount, target.upper, write)
    if name not in (*_OF_IOMAP, "btrfs"):
        return unknown(name, "file-system", "what it does with RWF_DSYNC is not known to fuaio")
    if not target.blocks:
        return unknown(name, *target.why_no_blocks)
    return _on_disk(mount, target, write)


def unknown(layer: str, reason: str, why: str) -> Verdict:
    """Return that it is not known, and why."""
    return Verdict("unknown", layer, reason, why, "unknown")


def _known(word: Word, layer: str, why: str) -> Verdict:
    asked: dict[Word, Asked] = {"native": "fua", "emulated": "flush", "not_needed": "nothing"}
    return Verdict(word, layer, "ok", why, asked[word])


def _none(layer: str, why: str, asked: Asked = "nothing") -> Verdict:
    return Verdict("none", layer, "ok", why, asked)


def _on_device(target: Target, write: Write) -> Verdict:
    if write.appends:
        return unknown("device", "no-append", "a block device does not grow")
    if not target.blocks:
        return unknown("device", *target.why_no_blocks)
    if target.blocks[0].setting("ro") == "1":
        return unknown(target.blocks[0].name, "read-only", "the device takes no writes")
    return _below(target.blocks, fua=write.flagged and write.direct)


def _on_overlay(mount: Mount, upper: Target | None, write: Write) -> Verdict:
    if mount.option("volatile") is not None or mount.option("fsync") == "volatile":
        why = "it is mounted volatile, and then flushes nothing"
        return _none("overlay", why)
    if upper is None:
        why = "its upper folder is not seen from here; ask where it was mounted"
        return unknown("overlay", "not-there", why)
    return judge(upper, write)


def _on_disk(mount: Mount, target: Target, write: Write) -> Verdict:
    name, blocks = mount.file_system, target.blocks
    if mount.option("rtdev") is not None:
        return unknown(name, "realtime", "its files may lie on the realtime device")
    if mount.option("dax") not in (None, "never", "inode"):
        return unknown(name, "dax", "it maps persistent memory, which is written without a device")
    why = _why_flush(mount, write)
    takes_fua = not why and all(_takes_fua(block.with_queue()) for block in blocks)
    if write.appends or mount.option("data") == "journal":
        if target.journal is None:
            why_not = "its journal is on another device, which it does not tell"
            return unknown(name, "journal", why_not)
        blocks = (*blocks, *target.journal)
    found = _below(blocks, fua=takes_fua)
    if found.asked in ("nothing", "unknown"):
        return found
    if not takes_fua and mount.option("nobarrier") is not None:
        why = "it is mounted without barriers, so no flush is sent to a volatile cache"
        return _none(name, why)
    return found._replace(layer=name, why=why) if why and found.word != "none" else found


def _why_flush(mount: Mount, write: Write) -> str:
    """Return why the file system has fsync's work follow the write; empty if it need not."""
    if mount.file_system == "btrfs":
        return "it writes elsewhere and then its log, and flushes, also for an overwrite"
    if not write.direct:
        return "through the page cache it is written and then flushed"
    if mount.option("data") == "journal":
        return "with data=journal all goes through the journal, and a flush follows"
    if write.appends:
        return "a file that grows changes metadata, which are written too, and a flush follows"
    if not write.flagged:
        return "the engine writes and then asks for a flush"
    return ""


def _takes_fua(top: Block) -> bool:
    """Return whether a file system uses FUA on the device: where that is more than a hint."""
    return top.setting("queue/fua") == "1" or top.setting("queue/write_cache") == _WRITE_THROUGH


def _below(blocks: tuple[Block, ...], *, fua: bool) -> Verdict:
    """Return what becomes of a FUA write, or of a write and a flush: the worst device counts."""
    found = [_of_device(block, fua) for block in blocks]
    return min(found, key=Verdict.worth)


def _of_device(block: Block, fua: bool) -> Verdict:
    block = block.with_queue()
    if block.kind not in _MEMORY_DEVICES:
        return _of_disk(block, fua)
    why = f"{block.name} keeps what it has in memory, which ends with the power"
    return _none(block.name, why, _of_disk(block, fua).asked)


def _of_disk(block: Block, fua: bool) -> Verdict:
    name, cache = block.name, block.setting("queue/write_cache")
    if cache is None:
        return unknown(name, "not-there", f"the kernel does not tell write_cache of {name}")
    if block.kind == "loop":
        return _of_loop(block, cache)
    if block.members:
        return _of_members(block, cache, fua)
    if block.kind == "network":
        return unknown(name, "network", "what the other side does with a flush cannot be seen")
    if block.kind not in _DISKS:
        return unknown(name, "device", f"what {name} does with a flush is not known to fuaio")
    if cache == _WRITE_THROUGH:
        return _without_cache(block)
    if block.setting("queue/fua") != "1":
        why = f"{name} has a volatile cache and takes no FUA, so a flush follows the write"
        return _known("emulated", name, why)
    if fua:
        return _known("native", name, f"{name} takes it as one FUA write")
    return _known("emulated", name, f"a flush of {name} follows the write")


def _without_cache(block: Block) -> Verdict:
    name = block.name
    if block.told_cache() == "write back":
        why = f"{name} has a volatile cache, but the kernel was told otherwise and sends no flush"
        return _none(name, why)
    why = f"{name} has no volatile cache, as the kernel sees it, so there is nothing to flush"
    return _known("not_needed", name, why)


def _of_members(block: Block, cache: str, fua: bool) -> Verdict:
    if not _passes_on(block):
        return unknown(
            block.name, "device", f"what {block.name} makes of FUA is not known to fuaio"
        )
    found = _below(block.members, fua=fua)
    if cache != _WRITE_THROUGH or found.word not in ("emulated", "native"):
        return found
    why = f"{block.name} sends no flush on to {found.layer}, which has a volatile cache"
    return _none(block.name, why)


def _passes_on(block: Block) -> bool:
    if block.kind.startswith("md "):
        policy = block.setting("md/consistency_policy")
        return block.kind in _ARRAYS_THAT_PASS_ON and policy not in ("journal", "ppl")
    return bool(block.targets) and set(block.targets) <= _TARGETS_THAT_PASS_ON


def _of_loop(block: Block, cache: str) -> Verdict:
    name, file = block.name, block.behind
    if block.setting("loop/backing_file") is None:
        return unknown(name, "not-there", f"no file is attached to {name}")
    if file is None:
        return unknown(name, "not-there", f"the file behind {name} is not seen from here")
    direct = block.setting("loop/dio") == "1"
    appends = file.kind != "block device"
    below = judge(file, Write(flagged=False, direct=direct, appends=appends))
    if below.word in ("unknown", "none"):
        asked: Asked = "nothing" if cache == _WRITE_THROUGH else "flush"
        if below.word == "unknown":
            asked = "unknown"
        return below._replace(why=f"{name} writes to {file.path}: {below.why}", asked=asked)
    if cache != _WRITE_THROUGH:
        why = f"a flush of {name} is an fsync of {file.path}"
        return _known("emulated", name, why)
    if direct and below.word == "not_needed":
        return below
    why = f"{name} sends no flush on to {file.path}, as if that had nothing volatile"
    return _none(name, why)
