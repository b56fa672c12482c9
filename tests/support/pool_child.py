"""A process of another user that may pin little memory, and what of its pools is registered.

Usage: pool_child.py PATH LIMIT_BYTES POOL_BYTES TURNS      prints what it saw as JSON

Each turn opens PATH on io_uring with a new pool, writes its first block durably and closes it.
A step that the machine does not let it take ends it with status 77 and the reason.
"""

from __future__ import annotations

import json
import os
import sys

from memory_file import memory_file
from real_refused_child import CANNOT, become, memlock

# All that is needed is loaded before: another user may not be able to read it.
from fuaio.aio import BufferPool, open_file

BLOCK = 4096
# What a user pins is counted in all its processes, those of another run of this test among them.
USER = str((1 << 20) + int.from_bytes(os.urandom(3), "big"))


def main() -> None:
    path, limit, length, turns = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    seen = []
    with open(path, "r+b", buffering=0) as file:
        # What is asked once in a process.
        open_file(memory_file(), "r+", engine="io_uring").close()
        try:
            memlock(limit)
            become(USER)
        except OSError as error:
            print(error, file=sys.stderr)
            sys.exit(CANNOT)
        for turn in range(turns):
            pool = BufferPool(length // BLOCK, BLOCK)
            pool[0][:] = bytes([turn + 1]) * BLOCK
            with open_file(file.fileno(), "r+", engine="io_uring", pool=pool) as opened:
                opened.pwrite(pool[0], turn * BLOCK, fua=True)
                seen.append(opened.statistics().pool)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
