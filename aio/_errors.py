"""The situations that have an error of their own; what the kernel answered stays an `OSError`."""

from __future__ import annotations

__all__ = [
    "AlignmentError",
    "BatchError",
    "ClosedError",
    "DurabilityError",
    "EngineUnavailableError",
]


class AlignmentError(ValueError):
    """Under ``O_DIRECT`` an address, a length or an offset is not a multiple of what is needed.

    The message names which, what was asked and what is needed. Nothing was submitted.
    """


class BatchError(OSError):
    """Some requests of a batch failed; all others were done, those asked to be durable are.

    ``errno`` is that of the first that failed, 0 where it was no answer of the kernel.

    Attributes:
        failures: By the number of the request in the batch, what it alone would have raised.
    """

    def __init__(self, failures: dict[int, Exception], count: int, name: str) -> None:
        number, first = next(iter(failures.items()))
        self.failures = failures
        super().__init__(
            getattr(first, "errno", None) or 0,
            f"{len(failures)} of {count} requests failed, the first is number {number}: {first}",
            name,
        )


class ClosedError(ValueError):
    """The file is closed, or belongs to another process: a forked child must open it itself."""


class DurabilityError(OSError):
    """A flush failed, now or earlier on this file, so a promise of durability cannot be kept.

    Or a durable write did that goes through the page cache, which is told of errors likewise.

    ``errno`` is that of the first failure. What is on the medium is unknown. The page cache
    reports such an error once, so that a later flush would succeed and prove nothing: the
    file refuses flushes and emulated FUA writes until it is opened again.

    Attributes:
        bytes_written: What the kernel took of this write, in bytes; not durable.
    """

    bytes_written: int = 0


class EngineUnavailableError(OSError):
    """The engine asked for cannot be had here; ``errno`` is the kernel's, 0 where it was not asked.

    Attributes:
        engine: The engine's name.
        cause: ``not-built``, ``sysctl``, ``policy`` (seccomp or another policy),
            ``limit`` or ``kernel``.
    """

    def __init__(self, engine: str, cause: str, message: str, errno: int = 0) -> None:
        super().__init__(errno, message)
        self.engine = engine
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.engine}: {self.strerror}"
