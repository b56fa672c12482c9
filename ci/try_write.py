"""Write durably on every engine that works here, read back, and compare.

Usage: try_write.py FOLDER

The scratch file in FOLDER has no name, so nothing stays behind however this ends.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile

from fuaio.aio import aligned_buffer, available, open_file

LENGTH = 1 << 16
# What O_TMPFILE is answered with where the file system, or the kernel, does not know it.
NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


def nameless_file(folder: str) -> int:
    """Open a new file in *folder* that has no name, for reading and writing."""
    try:
        return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in NO_TMPFILE:
            raise
    # No signal may come between the file's making and its unlinking.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        descriptor, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return descriptor


def write_and_compare(descriptor: int, engine: str, *, direct: bool) -> tuple[str, int, bool]:
    """Write random bytes durably; give how *engine* asks, the count, and if they came back."""
    data = aligned_buffer(LENGTH)
    memoryview(data).cast("B")[:] = os.urandom(LENGTH)
    with open_file(f"/proc/self/fd/{descriptor}", "r+", engine=engine, direct=direct) as file:
        count = file.pwrite(data, 0, fua=True)
        same = file.pread(LENGTH, 0) == bytes(data) == os.pread(descriptor, LENGTH, 0)
        return file.can_fua.name, count, same and count == LENGTH


def try_engine(descriptor: int, engine: str, *, direct: bool) -> bool:
    """Print the line of one *engine*; False if what was read is not what was written."""
    mode = "direct" if direct else "buffered"
    try:
        can_fua, count, same = write_and_compare(descriptor, engine, direct=direct)
    except OSError as error:
        refused = direct and error.errno == errno.EINVAL
        print(f"{engine:10} {mode:9} {error}" + (" (no O_DIRECT here)" if refused else ""))
        return refused
    print(f"{engine:10} {mode:9} {can_fua:9} {count:6} {'OK' if same else 'DIFFERENT'}")
    return same


def main(folder: str) -> int:
    """Try every engine; 0 if all that was written came back, 1 if not."""
    found = available()
    try:
        descriptor = nameless_file(folder)
    except OSError as error:
        print(f"{folder}: no scratch file can be made there: {error.strerror}", file=sys.stderr)
        return 2
    print("can_fua: how an engine asks the kernel; what becomes of it here is told above.")
    print(f"{'engine':10} {'file':9} {'can_fua':9} {'bytes':>6} read back")
    results = [
        try_engine(descriptor, engine, direct=direct)
        for engine in found.engines
        for direct in (False, True)
    ]
    for engine, why in found.why_not.items():
        print(f"{engine:10} not available: {why}")
    os.close(descriptor)
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
