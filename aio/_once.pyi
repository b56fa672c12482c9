# aio/once.c: the way of one request of one buffer, which is too hot for cffi.
from typing_extensions import Buffer

from fuaio.aio._queue import Call

def bind(once: int, begin: int, /) -> None:
    """Take the addresses of fuaio_request_once and fuaio_loop_begin. Before anything else."""

def once(
    queue: int, op: int, fua: bool, offset: int, data: Buffer, place: int, call: Call, /
) -> int | None:
    """Run fuaio_request_once on the memory of *data*.

    Returns:
        Its answer; None for empty data, for which C is not asked. Where it is negative and the
        request stays in *place*, ``call.kept`` holds the memory, by the same export.

    Raises:
        BufferError, TypeError: *data* has no such buffer; nothing began.
    """

def begin(
    queue: int,
    op: int,
    fua: bool,
    offset: int,
    data: Buffer | None,
    tag: int,
    now: bool,
    held: dict[int, object],
    /,
) -> int | None:
    """Run fuaio_loop_begin on the memory of *data*; a flush has none.

    Returns:
        Its answer; None for empty data, for which C is not asked. Where the request goes on,
        ``held[tag]`` holds the memory, by the same export.

    Raises:
        BufferError, TypeError: *data* has no such buffer; nothing began.
    """
