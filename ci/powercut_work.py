"""What is written for a power cut, and what has to be there after it: the same for both sides.

Each block that is written says which write it is of and where it belongs, all over, so that a block
that is there only in part is seen.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

BLOCK_BYTES = 4096
DEVICE_BYTES = 400 << 20  # of what is logged; the least that XFS takes, and some
REGION_BLOCKS = 256
GROUP = 16
SEED = 11
_STAMP = struct.Struct("<QQ")

Step = list[int]
"""Of one step, the blocks that are written, by number; durable together before the next step."""


def steps(count: int, *, grouped: bool, grows: bool) -> Iterator[Step]:
    """Give what is written in each of *count* steps.

    Args:
        count: Of steps, each acknowledged once.
        grouped: A step writes 16 blocks, else one.
        grows: Every second block lies behind the end of the file, else all in the region.
    """
    chance, end = random.Random(SEED), REGION_BLOCKS
    for _ in range(count):
        blocks = chance.sample(range(REGION_BLOCKS), GROUP if grouped else 1)
        for number in range(len(blocks)):
            if grows and chance.random() < 0.5:
                blocks[number] = end
                end += 1
        yield blocks


def content(write: int, block: int) -> bytes:
    """Return what the *write*, counted from 1 over all steps, puts into *block*."""
    return _STAMP.pack(write, block) * (BLOCK_BYTES // _STAMP.size)
