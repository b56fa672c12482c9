"""The target section: what a durable write at a path comes down to, and why."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fuaio.probe._block import Block
from fuaio.probe._core import ask_alignment, ask_engine
from fuaio.probe._known import ENGINES, make_fact
from fuaio.probe._machine import Machine, Target, TargetError
from fuaio.probe._record import Fact, State, Value
from fuaio.probe._verdict import Verdict, Write, judge, unknown

_HERE = Path("/")
_MIXED = "mixed"
_KNOWN_TO_KEEP_IT = ("ext2", "ext3", "ext4", "xfs", "tmpfs", "ramfs")
_WORDS = {
    "native": "are one FUA write",
    "not_needed": "need no flush",
    "emulated": "are a write and a flush",
    "none": "are not durable",
    "unknown": "are of unknown durability",
}


class Judged(NamedTuple):
    """A target, and what each engine's direct durable writes there come down to.

    Attributes:
        target: What was looked up.
        alignment: Of memory and of offsets for direct I/O, in bytes; or why that is not known.
        overwrites: The verdict by engine.
        appends: The same where the file grows.
    """

    target: Target
    alignment: tuple[int, int] | str
    overwrites: dict[str, Verdict]
    appends: dict[str, Verdict]


def judge_target(root: Path, path: str) -> Judged:
    """Look up *path* and judge each engine's writes.

    Nothing is written, and the file itself is not opened for reading either.

    Args:
        root: Where /proc and /sys lie. If it is not this machine's, *path* is looked up in its
            mount table alone, and engines are taken to pass RWF_DSYNC on.
        path: A file, a folder or a block device.

    Raises:
        TargetError: It is none of these.
    """
    machine = Machine(root)
    if root != _HERE:
        if not path.startswith("/"):
            raise TargetError(f"{path}: with a recorded tree the path has to be absolute")
        return _judge(machine.look_up(path), "another machine's", _takes_the_flag)
    target, fd = machine.open(path)
    try:
        alignment = ask_alignment(fd) if target.kind != "folder" else "only files are asked"
    finally:
        os.close(fd)
    return _judge(target, alignment, _sends_the_flag)


def read_target(root: Path, path: str) -> list[Fact]:
    """Return the facts of the target section for *path*, see `judge_target`."""
    judged = judge_target(root, path)
    target = judged.target
    facts = [
        _saw("path", target.path),
        _saw("kind", target.kind if target.kind != "unknown" else None, ("not-asked", "recorded")),
        *_of_mount(target),
        *_of_blocks(target),
        *_of_alignment(judged.alignment),
    ]
    best = {
        "overwrite": max(judged.overwrites.values(), key=Verdict.worth),
        "append": max(judged.appends.values(), key=Verdict.worth),
    }
    for engine in ENGINES:
        facts.append(_verdict(f"{engine}_overwrite", target, judged.overwrites[engine]))
        facts.append(_verdict(f"{engine}_append", target, judged.appends[engine]))
    buffered = judge(target, Write(flagged=True, direct=False, appends=False))
    facts.append(_verdict("buffered_overwrite", target, buffered))
    facts += [_verdict(name, target, found) for name, found in best.items()]
    return [*facts, _summary(target, best)]


def _takes_the_flag(engine: str) -> bool | tuple[str, str]:
    return True


def _sends_the_flag(engine: str) -> bool | tuple[str, str]:
    """Return whether *engine* sends RWF_DSYNC here, or the reason and detail of its absence."""
    answer = ask_engine(engine)
    if isinstance(answer, str):
        return ("core-not-loaded", answer)
    if answer.cause:
        return (answer.cause, answer.message)
    return bool(answer.takes_dsync)


def _judge(
    target: Target,
    alignment: tuple[int, int] | str,
    sends_the_flag: Callable[[str], bool | tuple[str, str]],
) -> Judged:
    has_direct = isinstance(alignment, str) or alignment != (0, 0)
    verdicts: dict[bool, dict[str, Verdict]] = {False: {}, True: {}}
    for engine in ENGINES:
        flagged = sends_the_flag(engine)
        for appends, found in verdicts.items():
            if isinstance(flagged, tuple):
                found[engine] = unknown(engine, *flagged)
            else:
                write = Write(_flags(engine, target, flagged), has_direct, appends)
                found[engine] = judge(target, write)
    return Judged(target, alignment, verdicts[False], verdicts[True])


def _summary(target: Target, best: dict[str, Verdict]) -> Fact:
    """Say in one sentence what the best engine comes to; a device does not grow."""
    parts = [f"overwrites {_WORDS[best['overwrite'].word]}"]
    if target.kind != "block device":
        parts.append(f"appends {_WORDS[best['append'].word]}")
    return _saw("summary", f"{target.words() or target.path}: {'; '.join(parts)}")


def _flags(engine: str, target: Target, flagged: bool) -> bool:
    """Return whether *engine* asks with RWF_DSYNC there, as `fuaio.aio` has it.

    On a raw device the threads engine flushes: RWF_DSYNC would do that after FUA as well. Where an
    asynchronous write with RWF_DSYNC is in doubt, the other two flush.
    """
    if engine != "threads":
        return flagged and (target.mount is None or target.mount.file_system in _KNOWN_TO_KEEP_IT)
    if target.kind != "block device" or not target.blocks:
        return flagged
    top = target.blocks[0].with_queue()
    return flagged and top.setting("queue/write_cache") == "write through"


def _verdict(name: str, target: Target, found: Verdict) -> Fact:
    state: State = "unknown" if found.word == "unknown" else "yes"
    sentence = f"{target.words()}: {found.why}" if target.words() else found.why
    value = None if state == "unknown" else found.word
    return make_fact(
        ("target", name), state, found.reason, value=value, source=found.layer, detail=sentence
    )


def _saw(
    name: str,
    value: Value,
    why_not: tuple[str, str] = ("not-learnt", ""),
    source: str = "",
    detail: str = "",
) -> Fact:
    key = ("target", name)
    if value is None:
        return make_fact(key, "unknown", why_not[0], source=source, detail=why_not[1])
    return make_fact(key, "yes", "ok", value=value, source=source, detail=detail)


def _of_mount(target: Target) -> list[Fact]:
    mount, why = target.mount, target.why_no_mount
    source = "/proc/self/mountinfo"
    return [
        _saw("file_system", None if mount is None else mount.file_system, why, source),
        _saw("mount_point", None if mount is None else mount.point, why, source),
        _saw("mount_source", None if mount is None else mount.source, why, source),
        _saw("mount_options", None if mount is None else ",".join(mount.options), why, source),
    ]


def _of_blocks(target: Target) -> list[Fact]:
    why = target.why_no_blocks
    disks = target.disks()
    return [
        _saw("stack", target.words() or None, why, "/sys/dev/block"),
        _saw("disks", " ".join(disk.name for disk in disks) or None, why, "/sys/dev/block"),
        *(
            _of_disks(name, f"queue/{setting}", disks, why)
            for name, setting in (
                ("write_cache", "write_cache"),
                ("fua", "fua"),
                ("rotational", "rotational"),
                ("logical_block_size", "logical_block_size"),
                ("physical_block_size", "physical_block_size"),
                ("atomic_write_unit_min", "atomic_write_unit_min_bytes"),
                ("atomic_write_unit_max", "atomic_write_unit_max_bytes"),
            )
        ),
    ]


def _of_disks(name: str, setting: str, disks: list[Block], why: tuple[str, str]) -> Fact:
    """Return what all disks have in common; where they differ the detail has each one's."""
    source = f"/sys/block/{disks[0].name if len(disks) == 1 else '*'}/{setting}"
    found = [disk.setting(setting) for disk in disks]
    if not disks or None in found:
        missing = ("not-there", "this kernel does not tell it") if disks else why
        return _saw(name, None, missing, source if disks else "")
    each = ", ".join(f"{disk.name} {value}" for disk, value in zip(disks, found, strict=True))
    if len(set(found)) > 1:
        return _saw(name, _MIXED, source=source, detail=each)
    return _saw(name, _number(found[0]), source=source)


def _of_alignment(alignment: tuple[int, int] | str) -> list[Fact]:
    names = ("memory_align", "offset_align")
    if isinstance(alignment, str):
        return [_saw(name, None, ("not-asked", alignment)) for name in names]
    detail = "" if alignment != (0, 0) else "it takes no direct I/O"
    return [
        _saw(name, value, source="statx", detail=detail)
        for name, value in zip(names, alignment, strict=True)
    ]


def _number(text: str | None) -> Value:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else text
