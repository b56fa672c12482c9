# aio/once.c: the way of one request of one buffer, which is too hot for cffi.
from typing import Protocol

from typing_extensions import Buffer

from fuaio.aio._queue import Call

class Once(Protocol):
    """Run fuaio_request_once on the memory of *data*.

    Returns:
        Its answer; None for empty data, for which C is not asked. Where it is negative and the
        request stays in *place*, ``call.kept`` holds the memory.

    Raises:
        BufferError, TypeError: *data* has no such buffer; nothing began.
    """

    def __call__(
        self, queue: int, place: int, op: int, fua: bool, offset: int, data: Buffer, call: Call, /
    ) -> int | None: ...

def bind(address: int, /) -> Once: ...
