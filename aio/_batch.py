"""Many requests by one call: their buffers and offsets as C takes them, and how they ended."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Literal, cast

from fuaio.aio._buffers import NOT_EXPORTED, address_of, exported_all, release
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import BatchError
from fuaio.aio._pieces import export

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from fuaio.aio._core import CData
    from fuaio.aio._pieces import Export
    from fuaio.aio._queue import Batch

    Buffers = Sequence[Buffer] | Buffer

__all__ = [
    "Durable",
    "check_all_done",
    "durable_number",
    "make_pieces",
    "outcomes_of",
    "place_of_piece",
]

Durable = Literal["fua", "flush", "auto"] | None

_DURABLE = {
    "fua": lib.FUAIO_FUA,
    "flush": lib.FUAIO_GROUPED,
    "auto": lib.FUAIO_AUTO,
    None: lib.FUAIO_PLAIN,
}
_NANOSECONDS = frozenset("QL")  # as array and numpy call eight bytes without a sign


def durable_number(durable: str | None) -> int:
    """Return C's name for what makes a batch durable.

    Raises:
        ValueError: *durable* is none of them.
    """
    if durable not in _DURABLE:
        raise ValueError(f"durable is {durable!r}: one of 'fua', 'flush', 'auto' and None")
    return int(_DURABLE[durable])


def place_of_piece(pieces: Export, number: int) -> tuple[int, int, int]:
    """Return offset, address and length of request *number*, as C takes them."""
    c = ffi.cast("struct fuaio_pieces *", pieces.pieces_at)
    offset = int(c.offsets[number])
    if c.block:
        return offset, address_of(c.buffers[0]) + number * c.block, int(c.block)
    return offset, address_of(c.buffers[number]), int(c.lengths[number])


def outcomes_of(pieces: Export) -> list[CData]:
    """Return how each request ended; they live as long as *pieces*."""
    outcomes = ffi.cast("struct fuaio_outcome *", pieces.outcomes_at)
    found: list[CData] = ffi.unpack(outcomes, pieces.count)
    return found


def make_pieces(
    offsets: Sequence[int], buffers: Buffers, *, writable: bool, latencies: Buffer | None = None
) -> Export:
    """Export *buffers*, or one buffer cut into as many equal blocks as there are *offsets*.

    Raises:
        ValueError: There are none, or the counts differ, or the buffer cannot be cut so.
        TypeError: Something is no buffer, or no whole number; or *latencies* cannot take them.
        OverflowError: An offset does not fit 64 bits.
    """
    if type(offsets) is not array or offsets.typecode != "q":
        # Of bytes array would take eight for a number.
        offsets = array("q", [*offsets] if isinstance(offsets, bytes | bytearray) else offsets)
    if not offsets:
        raise ValueError("an empty batch: pass at least one offset and one buffer")
    is_one = not isinstance(buffers, list | tuple)
    if latencies is not None:
        _check_latencies(latencies, len(offsets))
    try:
        pieces = export(offsets, buffers, writable, latencies)
    except NOT_EXPORTED:
        each = [cast("Buffer", buffers)] if is_one else cast("Sequence[Buffer]", buffers)
        release(exported_all(each, writable=writable))  # where one cannot be, this says why
        raise
    length, count = pieces.length, pieces.count
    if is_one and (length % count or not length):
        pieces.release()
        pieces.release_latencies()
        raise ValueError(f"a buffer of {length} bytes cannot be cut into {count} equal blocks")
    return pieces


def _check_latencies(latencies: Buffer, count: int) -> None:
    with memoryview(latencies) as view:
        if view.format not in _NANOSECONDS or view.itemsize != 8 or view.readonly:
            kind = f"format {view.format!r}" + (", read-only" if view.readonly else "")
            raise TypeError(
                f"latencies: {type(latencies).__name__} of {kind} cannot take nanoseconds; "
                f"pass array('Q', bytes(8 * {count}))"
            )
        if view.nbytes != 8 * count or not view.c_contiguous:
            raise ValueError(f"latencies: {len(view)} places for {count} requests: one for each")


def check_all_done(batch: Batch, name: str) -> None:
    """Raise `BatchError` if a request of *batch* failed."""
    if batch.failed:
        raise BatchError(batch.failures(), batch.pieces.count, name)
