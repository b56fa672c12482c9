"""Durable writes, and what this build and this kernel offer for them.

    from fuaio.aio import open_file

    with open_file("journal", "r+", direct=True) as f:
        f.pwrite(block, 0, fua=True)   # durable when it returns: this write alone

`laio_has_fua` and `luring_has_fua` say what the headers gave at build time, `available`
which engines work here, `File.can_fua` how a file asks for durability.
"""

from fuaio.aio._buffers import aligned_buffer
from fuaio.aio._engines import Available, available, laio_has_fua, luring_has_fua
from fuaio.aio._errors import AlignmentError, ClosedError, DurabilityError, EngineUnavailableError
from fuaio.aio._file import File, Fua
from fuaio.aio._open import open_file

__all__ = [
    "AlignmentError",
    "Available",
    "ClosedError",
    "DurabilityError",
    "EngineUnavailableError",
    "File",
    "Fua",
    "aligned_buffer",
    "available",
    "laio_has_fua",
    "luring_has_fua",
    "open_file",
]
