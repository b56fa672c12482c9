"""What the tests of files and their lifetime share: descriptors, children, interrupted calls."""

from __future__ import annotations

import os
from pathlib import Path


def descriptors() -> dict[int, str]:
    """The open descriptors of this process, and what each is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(Path("/proc/self/fd", name))
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


def aio_contexts() -> int:
    """How many contexts of Linux AIO this process has: each is mapped."""
    return Path("/proc/self/maps").read_text().count("/[aio]")
