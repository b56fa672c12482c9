"""Memory for requests: what the kernel takes, and what we take from a caller."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from fuaio.aio._core import ffi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    from fuaio.aio._core import CData

__all__ = [
    "NOT_EXPORTED",
    "address_of",
    "aligned_buffer",
    "exported",
    "exported_all",
    "place_of",
    "release",
]

# Of a batch each buffer passes here: looked up once, and called without names.
_export, _end, _BYTES = ffi.from_buffer, ffi.release, ffi.typeof("char[]")
NOT_EXPORTED = (BufferError, ValueError, TypeError)


def aligned_buffer(length: int) -> mmap.mmap:
    """Return *length* bytes of zeroed memory that ``O_DIRECT`` takes.

    It starts on a page, which is aligned enough for every file. *length* itself is as asked:
    a request needs a multiple of `File.offset_align`, which a slice of a longer buffer gives.

    Args:
        length: Bytes, at least 1.

    Raises:
        ValueError: *length* is not positive.
    """
    if length < 1:
        raise ValueError(f"a buffer of {length} bytes cannot be made; ask for at least 1")
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def exported(data: Buffer, *, writable: bool = False) -> CData:
    """Export *data* to C: it can be neither resized nor freed until the result is released.

    Raises:
        TypeError: *data* has no buffer, a read-only one where a writable is needed, or one
            that is not C-contiguous.
    """
    try:
        memory: CData = _export(_BYTES, data, writable)
    except NOT_EXPORTED as error:
        raise TypeError(_why_not(data, writable)) from error
    return memory


def exported_all(buffers: Iterable[Buffer], *, writable: bool) -> tuple[CData, ...]:
    """Export each of *buffers*; where one cannot be, none stays exported."""
    held: list[CData] = []
    add = held.append
    try:
        for buffer in buffers:
            # As `exported` does, without a call for each of what may be thousands.
            try:
                add(_export(_BYTES, buffer, writable))
            except NOT_EXPORTED as error:
                raise TypeError(_why_not(buffer, writable)) from error
    except BaseException:
        release(held)
        raise
    return tuple(held)


def address_of(memory: CData) -> int:
    """Return where *memory* lies, a multiple of what O_DIRECT asks or not."""
    return int(ffi.cast("uintptr_t", memory))


def place_of(data: Buffer) -> tuple[int, int]:
    """Return the address and the length of *data*, in bytes."""
    with exported(data) as memory:
        return address_of(memory), len(memory)


def release(held: Iterable[CData]) -> None:
    """End the exports: the buffers can be resized and freed again."""
    for memory in held:
        _end(memory)


def _why_not(data: object, writable: bool) -> str:
    kind = type(data).__name__
    try:
        view = memoryview(data)  # type: ignore[arg-type]  # this asks whether it has a buffer
    except TypeError:
        return f"a {kind} has no buffer; pass bytes, bytearray, memoryview, mmap or an array"
    if not view.c_contiguous:
        return f"this {kind} is not C-contiguous: a request needs one piece of memory; copy it"
    if writable and view.readonly:
        return f"this {kind} is read-only, and a read writes into it; pass a bytearray"
    return f"this {kind} cannot be exported to C"
