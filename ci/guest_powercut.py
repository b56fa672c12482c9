"""In the virtual machine: power cuts at every acknowledgement, on a device whose writes are logged.

Usage: guest_powercut.py STEPS MOUNTS ENGINE/WHAT/WAY...

WHAT is raw, ext4 or xfs, WAY one of powercut_write.py's. Prints a line of JSON for each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from guest_devices import FILE_SYSTEMS, by_serial, load, mapping, run

SECTORS = 400 * 2048  # of the device; the least that XFS takes, and some
SEED = "11"


def cell(steps: str, mounts: str, engine: str, what: str, way: str) -> dict[str, object]:
    """Write, replay and check; return what was found."""
    data, log = by_serial("nvme-a"), by_serial("nvme-b")
    grows = "0" if what == "raw" else "1"
    run("blkdiscard", "-f", data)
    run("blkdiscard", "-f", log)
    with ExitStack() as stack:
        logged = stack.enter_context(mapping("logged", f"0 {SECTORS} log-writes {data} {log}"))
        place = stack.enter_context(FILE_SYSTEMS[what](logged))
        path = place if what == "raw" else f"{place}/file"
        words = [path, "logged", engine, way, steps, grows, SEED]
        written = run(sys.executable, "powercut_write.py", *words)
    # From nothing: what made the file system is in the log too.
    run("blkdiscard", "-f", data)
    with mapping("replayed", f"0 {SECTORS} linear {data} 0") as device:
        words = [log, what, way, steps, grows, SEED, device, by_serial("virtio-wb"), mounts]
        done = subprocess.run(
            [sys.executable, "powercut_check.py", *words],
            input=written,
            capture_output=True,
            text=True,
            check=False,
        )
    found = json.loads(done.stdout) if done.stdout else {}
    return {**found, "code": done.returncode, "errors": done.stderr}


def main(steps: str, mounts: str, *cells: str) -> None:
    """Print all cells."""
    for module in ("dm_log_writes", "dm_snapshot", "virtio_blk"):
        load(module)
    Path("/run/mounted").mkdir(exist_ok=True)
    for words in cells:
        engine, what, way = words.split("/")
        found = cell(steps, mounts, engine, what, way)
        print(json.dumps({"engine": engine, "what": what, "way": way, **found}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
