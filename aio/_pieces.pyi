# aio/pieces.c: the buffers of a batch and what C notes of it, which are too hot for cffi.
from array import array
from collections.abc import Sequence

from typing_extensions import Buffer

class Export:
    """Buffers that can be neither resized nor freed until `release`, and a copy of the offsets."""

    @property
    def count(self) -> int:
        """How many requests."""

    @property
    def length(self) -> int:
        """Bytes of all buffers."""

    @property
    def pieces_at(self) -> int:
        """Address of the struct fuaio_pieces, which lives as long as this."""

    @property
    def outcomes_at(self) -> int:
        """Address of a struct fuaio_outcome for each request, likewise."""

    def release(self) -> None:
        """End the exports of the buffers; by one thread. All else stays as it is."""

    def release_latencies(self) -> None:
        """End that of the latencies."""

def export(
    offsets: array[int],
    buffers: Sequence[Buffer] | Buffer,
    writable: bool,
    latencies: Buffer | None,
    /,
) -> Export:
    """Export *buffers*, a list or tuple, or one, of which each request has an equal block.

    *offsets* is an ``array("q")``, which is copied.

    Raises:
        BufferError, TypeError, ValueError: Something has no such buffer; nothing stays exported.
        MemoryError: There is too little.
    """
