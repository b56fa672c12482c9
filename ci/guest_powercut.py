"""In the virtual machine: writes for power cuts, on a device whose writes are logged.

Usage: guest_powercut.py STEPS ENGINE/WHAT/WAY...

WHAT is raw or a file system, WAY one of powercut_write.py's. Each has a log of its own on one disk,
which powercut_check.py reads when the machine has ended. Prints a line of JSON for each, with where
on the disk its log begins, in bytes, and where on the file system its file is.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack

from guest_devices import FILE_SYSTEMS, MOUNT_POINT, by_serial, load, mapping, run
from powercut_work import DEVICE_BYTES

SECTOR_BYTES = 512
LOG_SECTORS = 1024 * 2048  # of one cell


def write(number: int, steps: str, engine: str, what: str, way: str) -> dict[str, object]:
    """Write; return where to find it."""
    data, start = by_serial("nvme-a"), number * LOG_SECTORS
    run("blkdiscard", "-f", data)
    with ExitStack() as stack:
        table = f"0 {LOG_SECTORS} linear {by_serial('log')} {start}"
        log = stack.enter_context(mapping("log", table))
        table = f"0 {DEVICE_BYTES // SECTOR_BYTES} log-writes {data} {log}"
        logged = stack.enter_context(mapping("logged", table))
        # What makes the file system is in the log too.
        place = stack.enter_context(FILE_SYSTEMS[what](logged))
        path = place if what == "raw" else f"{place}/file"
        run(sys.executable, "powercut_write.py", path, "logged", engine, way, steps)
    return {"start": start * SECTOR_BYTES, "file": os.path.relpath(path, MOUNT_POINT)}


def main(steps: str, *cells: str) -> None:
    """Write for all cells."""
    load("dm_log_writes")
    for number, words in enumerate(cells):
        engine, what, way = words.split("/")
        written = write(number, steps, engine, what, way)
        cell = {"engine": engine, "what": what, "way": way, **written}
        print(json.dumps(cell), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
