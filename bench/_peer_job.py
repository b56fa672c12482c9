"""The program of one job of a Python peer: ``python -m fuaio.bench._peer_job ORDER``.

Nothing of a peer is imported but here, so that what it does at its import, or its end by a signal,
stays in its own process.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from fuaio.bench import _peer_asyncio, _peer_ours, _peer_rings
from fuaio.bench._peer import Order
from fuaio.bench._peer_task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITERS: dict[str, Callable[[Task], int]] = {
    "os-pwritev": _peer_rings.os_pwritev,
    "os-o_dsync": _peer_rings.os_o_dsync,
    "os-fdatasync": _peer_rings.os_fdatasync,
    "asyncio-threads": _peer_asyncio.asyncio_threads,
    "caio-uring": _peer_asyncio.caio_uring,
    "caio-linux": _peer_asyncio.caio_linux,
    "aiofile": _peer_asyncio.aiofile,
    "aiofiles": _peer_asyncio.aiofiles,
    "uring-api": _peer_rings.uring_api,
    "pyaio": _peer_asyncio.pyaio,
    "liburing": _peer_rings.liburing,
    "libaio": _peer_rings.libaio,
    **{
        f"fuaio-{name}-{engine}": partial(write, engine)
        for name, write in (
            ("asyncio", _peer_ours.under_asyncio),
            ("asyncio-batches", _peer_ours.under_asyncio_in_batches),
        )
        for engine in ("linux_aio", "io_uring")
    },
}


def main(argument: str) -> int:
    """Do what the order says; return the exit code."""
    order = msgspec.json.decode(argument, type=Order)
    task = Task(order.work, order.job)
    writes = _WRITERS[order.peer](task)
    print(msgspec.json.encode(task.answer(writes)).decode())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 # a library's own words
        sys.exit(f"{type(error).__name__}: {error}")
