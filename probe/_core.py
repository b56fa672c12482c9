"""The one place where fuaio.probe touches fuaio.aio, so that it works without the C core."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuaio.aio._ask import Answer as Answer  # for _kernel.py, which does not import aio


def load_core() -> str:
    """Load the C core; return an empty text, or why it cannot be loaded."""
    try:
        import fuaio.aio._ask  # noqa: F401 (loading it is the question)
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def core_file() -> str:
    """Return the shared object that the C core is, once it is loaded."""
    import fuaio.aio._core

    return str(fuaio.aio._core.__file__)


def ask_engine(engine: str) -> Answer | str:
    """Return what *engine* answered, or why the core that would ask cannot be loaded."""
    failure = load_core()
    if failure:
        return failure
    from fuaio.aio._ask import ask

    return ask(engine)


def ask_alignment(fd: int) -> tuple[int, int] | str:
    """Return what direct I/O asks of memory and offsets, in bytes, or why that is not known.

    Both are 0 where the file takes no direct I/O.
    """
    failure = load_core()
    if failure:
        return failure
    from fuaio.aio._ask import alignment

    return alignment(fd) or "statx does not tell it; it does since Linux 6.1"
