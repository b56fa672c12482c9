"""Many requests by one call: their buffers and offsets as C takes them, and how they ended."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from fuaio.aio._buffers import address_of, exported, exported_all, release
from fuaio.aio._core import ffi, lib
from fuaio.aio._errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from fuaio.aio._core import CData
    from fuaio.aio._queue import Batch

    Buffers = Sequence[Buffer] | Buffer

__all__ = ["Durable", "Pieces", "check_all_done", "durable_number", "make_pieces"]

Durable = Literal["fua", "flush", "auto"] | None

_DURABLE = {
    "fua": lib.FUAIO_FUA,
    "flush": lib.FUAIO_GROUPED,
    "auto": lib.FUAIO_AUTO,
    None: lib.FUAIO_PLAIN,
}
# Each batch makes these: their names are looked up once.
_new, _from = ffi.new, ffi.from_buffer
_PIECES, _PLACES = ffi.typeof("struct fuaio_pieces *"), ffi.typeof("void *[]")
_OFFSETS, _LENGTHS = ffi.typeof("int64_t[]"), ffi.typeof("size_t[]")
_NANOSECONDS = frozenset("QL")  # as array and numpy call eight bytes without a sign


def durable_number(durable: str | None) -> int:
    """Return C's name for what makes a batch durable.

    Raises:
        ValueError: *durable* is none of them.
    """
    if durable not in _DURABLE:
        raise ValueError(f"durable is {durable!r}: one of 'fua', 'flush', 'auto' and None")
    return int(_DURABLE[durable])


class Pieces(NamedTuple):
    """What a batch reads or writes, and what has to live as long as the kernel may use it."""

    total: int
    length: int
    c: CData
    held: tuple[CData, ...]
    kept: tuple[object, ...]
    latencies: tuple[CData, ...]

    def place(self, number: int) -> tuple[int, int, int]:
        """Return offset, address and length of request *number*, as C takes them."""
        c = self.c
        offset = int(c.offsets[number])
        if c.block:
            return offset, address_of(c.buffers[0]) + number * c.block, int(c.block)
        return offset, address_of(c.buffers[number]), int(c.lengths[number])


def make_pieces(
    offsets: Sequence[int], buffers: Buffers, *, writable: bool, latencies: Buffer | None = None
) -> Pieces:
    """Export *buffers*, or one buffer cut into as many equal blocks as there are *offsets*.

    Raises:
        ValueError: There are none, or the counts differ, or the buffer cannot be cut so.
        TypeError: Something is no buffer, or no whole number; or *latencies* cannot take them.
        OverflowError: An offset does not fit 64 bits.
    """
    # A copy: they are looked at before the first request, so they must not change later.
    # Of bytes array would take eight for a number.
    numbers = array("q", [*offsets] if isinstance(offsets, bytes | bytearray) else offsets)
    if not numbers:
        raise ValueError("an empty batch: pass at least one offset and one buffer")
    if latencies is not None:
        _check_latencies(latencies, len(numbers))
    count, block, lengths = len(numbers), 0, ffi.NULL
    if isinstance(buffers, list | tuple):
        held, lengths = _export_each(buffers, count, writable)
        length = sum(lengths)
    else:
        held = (exported(cast("Buffer", buffers), writable=writable),)
        length = len(held[0])
        block = length // count
        if block * count != length or not block:
            release(held)
            raise ValueError(f"a buffer of {length} bytes cannot be cut into {count} equal blocks")
    told: tuple[CData, ...] = ()
    if latencies is not None:
        told = (_from("uint64_t[]", latencies, require_writable=True),)
    at, places = _from(_OFFSETS, numbers), _new(_PLACES, held)
    made = _new(_PIECES, (count, at, places, lengths, block, *told))
    # Not held: close releases that, and a thread between two waits still has to end its batch.
    return Pieces(count, length, made, held, (at, places, lengths), told)


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


def _export_each(
    buffers: Sequence[Buffer], count: int, writable: bool
) -> tuple[tuple[CData, ...], CData]:
    if len(buffers) != count:
        raise ValueError(f"{count} offsets and {len(buffers)} buffers: one of each for a request")
    held = exported_all(buffers, writable=writable)
    return held, _new(_LENGTHS, [*map(len, held)])


def check_all_done(batch: Batch, name: str) -> None:
    """Raise `BatchError` if a request of *batch* failed."""
    failures = batch.failures()
    if failures:
        raise BatchError(failures, len(batch.outcomes), name)
