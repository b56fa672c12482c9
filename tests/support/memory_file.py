"""A file in memory. Pythons that were built with an old C library have no os.memfd_create."""

from __future__ import annotations

import ctypes
import os

_CLOEXEC, _ALLOW_SEALING = 1, 2  # Linux uapi/linux/memfd.h


def memory_file(*, sealable: bool = False) -> int:
    """Return the descriptor of a new, empty file that only memory holds."""
    flags = _CLOEXEC | (_ALLOW_SEALING if sealable else 0)
    descriptor = ctypes.CDLL(None, use_errno=True).memfd_create(b"fuaio", flags)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(descriptor)
