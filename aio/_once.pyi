# aio/once.c: the way of one request of one buffer, which is too hot for cffi.
from typing_extensions import Buffer

from fuaio.aio._queue import Call

def bind(address: int, /) -> None:
    """Take *address* for fuaio_request_once's. Before anything else."""

def once(
    queue: int, place: int, op: int, fua: bool, offset: int, data: Buffer, call: Call, /
) -> int | None:
    """Run fuaio_request_once on the memory of *data*.

    Returns:
        Its answer; None for empty data, for which C is not asked. Where it is negative and the
        request stays in *place*, ``call.kept`` holds the memory, by the same export.

    Raises:
        BufferError, TypeError: *data* has no such buffer; nothing began.
    """
