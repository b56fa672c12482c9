"""In the virtual machine: what fuaio foretells of each device and file system, and what is seen.

Usage: guest_truth.py small|all|DEVICE/FILE_SYSTEM...

Prints a line of JSON for each engine and kind of write, and for each combination that this machine
cannot make.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from guest_devices import DEVICES, FILE_SYSTEMS, CannotError

from fuaio.bench import observe
from fuaio.probe import ENGINES, Fact
from fuaio.probe._target import judge_target

SMALL = [(device, kind) for device in ("nvme", "virtio-wb") for kind in ("raw", "ext4", "xfs")]
# A layer of its own on top, or an option: one disk that takes FUA and one that does not are enough.
ON_FEW = {
    "ext4-sync": ("nvme", "virtio-wb"),
    "xfs-sync": ("nvme", "virtio-wb"),
    "xfs-logdev": ("nvme", "virtio-wb", "virtio-wt"),
    "overlay": ("nvme", "virtio-wb"),
    "overlay-volatile": ("nvme", "virtio-wb"),
    "tmpfs": ("nvme",),
}


def combinations(*which: str) -> Iterator[tuple[str, str]]:
    """Give the devices and what is made on each."""
    if which == ("small",):
        yield from SMALL
        return
    if which != ("all",):
        for words in which:
            device, _, kind = words.partition("/")
            yield device, kind
        return
    for device in DEVICES:
        for kind in FILE_SYSTEMS:
            if device in ON_FEW.get(kind, DEVICES):
                yield device, kind


def cells(device: str, kind: str) -> Iterator[dict[str, object]]:
    """Give what is foretold and seen of one device with one file system."""
    with DEVICES[device]() as disk, FILE_SYSTEMS[kind](disk) as place:
        judged = judge_target(Path("/"), place)
        facts = {fact.name: fact for fact in observe(place, destroy_data=kind == "raw")}
        for what, verdicts in (("overwrite", judged.overwrites), ("append", judged.appends)):
            if kind == "raw" and what == "append":
                continue
            for engine in (*ENGINES, "pwritev2"):
                seen: Fact = facts[f"{engine}_{what}_asked"]
                verdict = verdicts.get(engine)
                yield {
                    "engine": engine,
                    "what": what,
                    "stack": judged.target.words(),
                    "verdict": "" if verdict is None else verdict.word,
                    "foretold": "" if verdict is None else verdict.asked,
                    "why": "" if verdict is None else verdict.why,
                    "seen": seen.value,
                    "why_not_seen": seen.detail if seen.value is None else "",
                }


def main(*which: str) -> None:
    """Print all cells."""
    for device, kind in combinations(*which):
        head = {"kernel": platform.release(), "device": device, "kind": kind}
        try:
            for cell in cells(device, kind):
                print(json.dumps({**head, **cell}), flush=True)
        except CannotError as error:
            print(json.dumps({**head, "cannot": str(error)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
