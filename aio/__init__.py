"""Durable writes, and what this build and this kernel offer for them.

    from fuaio.aio import open_file

    with open_file("journal", "r+", direct=True) as f:
        f.pwrite(block, 0, fua=True)   # durable when it returns: this write alone

`laio_has_fua` and `luring_has_fua` say what the headers gave at build time, `available`
which engines work here, `File.can_fua` how a file asks for durability.
"""

import typing as _typing

from fuaio.aio._base import Fua
from fuaio.aio._buffers import aligned_buffer
from fuaio.aio._engines import Available, available, laio_has_fua, luring_has_fua
from fuaio.aio._errors import (
    AlignmentError,
    BatchError,
    ClosedError,
    DurabilityError,
    EngineUnavailableError,
)
from fuaio.aio._file import File
from fuaio.aio._open import open_file
from fuaio.aio._pool import BufferPool
from fuaio.aio._prepare import prepare
from fuaio.aio._statistics import AutoChoice, Measured, Registered, Statistics

if _typing.TYPE_CHECKING:
    from fuaio.aio._async_file import AsyncFile
    from fuaio.aio._open_async import open_async

__all__ = [
    "AlignmentError",
    "AsyncFile",
    "AutoChoice",
    "Available",
    "BatchError",
    "BufferPool",
    "ClosedError",
    "DurabilityError",
    "EngineUnavailableError",
    "File",
    "Fua",
    "Measured",
    "Registered",
    "Statistics",
    "aligned_buffer",
    "available",
    "laio_has_fua",
    "luring_has_fua",
    "open_async",
    "open_file",
    "prepare",
]


if not _typing.TYPE_CHECKING:  # a type checker would believe that every name is here

    def __getattr__(name: str) -> object:
        """Import asyncio where it is asked for, and not before."""
        if name == "AsyncFile":
            from fuaio.aio._async_file import AsyncFile

            value = AsyncFile
        elif name == "open_async":
            from fuaio.aio._open_async import open_async

            value = open_async
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """Also what is not imported yet."""
        return sorted({*globals(), *__all__})
