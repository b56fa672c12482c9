"""QEMU before and after it learned FUA: ``qemu-img bench -t directsync``.

Before 10.0 it sends a durable write as two requests, the write and a flush; since then as one with
RWF_DSYNC. It writes one block after the other only, and is told how many, not how long.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from fuaio.bench._peer import Peer, is_block_device
from fuaio.bench._work import Pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuaio.bench._work import Work

__all__ = ["Qemu", "qemu_options", "qemu_seconds"]

_KNOWS_FUA = 10  # the first major version
_LIMIT_S = 20


class Qemu(Peer):
    """``qemu-img`` of a version on one side of the commit, with one of its engines.

    It is the program ``qemu-img-7`` or ``qemu-img-10`` on PATH, or ``qemu-img`` if that is of such
    a version.
    """

    def __init__(self, major: int, engine: str) -> None:
        super().__init__(f"qemu{major}-{engine}")
        self._major = major

    def why_not(self, work: Work) -> str:
        """Return why it cannot do *work* here, or nothing."""
        if work.pattern is not Pattern.SEQUENTIAL:
            return "qemu-img bench writes in sequence only; say --pattern sequential, for all"
        if not work.direct:
            return "-t directsync is O_DIRECT: measure without it against others"
        found: list[str] = []
        return "" if self._program(found) else self._missing(found)

    def command(self, work: Work, job: int) -> Sequence[str]:
        """Return the program that does it."""
        return self._command("fuaio.bench._peer_program", work, job, self._program([]))

    def _program(self, found: list[str]) -> str:
        """Return the path of ours, else nothing and in *found* which there are."""
        for name in (f"qemu-img-{self._major}", "qemu-img"):
            path = shutil.which(name)
            version = _version(path) if path else ""
            if path and version:
                found.append(f"{name} is {version}")
                if (int(version.split(".")[0]) >= _KNOWS_FUA) == (self._major >= _KNOWS_FUA):
                    return path
        return ""

    def _missing(self, found: list[str]) -> str:
        side = "10.0 or newer" if self._major >= _KNOWS_FUA else "older than 10.0"
        seen = " and ".join(found) or f"neither qemu-img-{self._major} nor qemu-img is on PATH"
        return f"it takes qemu-img {side}, and {seen}: run ci/peers, which fetches both"


def _version(path: str) -> str:
    said = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False, timeout=_LIMIT_S
    )
    match = re.match(r"qemu-img version (\d+\.\d+[.\d]*)", said.stdout)
    return match[1] if match else ""


def qemu_options(engine: str, work: Work, job: int, count: int) -> list[str]:
    """Return the arguments that make ``qemu-img`` write *count* blocks of the region."""
    driver = "host_device" if is_block_device(work.path) else "file"
    # A raw image of the region's size: at its end it begins anew, and nothing behind is written.
    # Several jobs write to it, which QEMU's lock is there to prevent.
    image = (
        f"driver=raw,size={work.region_bytes},file.driver={driver},"
        f"file.filename={work.path.replace(',', ',,')},file.aio={engine},file.locking=off"
    )
    first = work.region_bytes // work.block_bytes * job // work.jobs * work.block_bytes
    return [
        "bench",
        "-w",
        *("-t", "directsync"),
        *("-i", engine),
        *("-c", str(count)),
        *("-d", str(work.depth)),
        *("-o", str(first)),
        *("-s", str(work.block_bytes)),
        *("-S", str(work.block_bytes)),
        f"--pattern={work.fill}",
        "--image-opts",
        image,
    ]


def qemu_seconds(output: str) -> float:
    """Return how long it says that it took.

    Raises:
        ValueError: It says nothing of that kind.
    """
    match = re.search(r"Run completed in ([\d.]+) seconds", output)
    if match is None:
        raise ValueError(f"qemu-img bench does not say how long it took: {output[:200]!r}")
    return float(match[1])
