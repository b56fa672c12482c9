"""What a run found, as a record: all that is shown is a rendering of it."""

from __future__ import annotations

import msgspec

from fuaio.bench._work import Work

__all__ = ["SCHEMA_VERSION", "Latencies", "Machine", "Result", "Run", "Sample"]

SCHEMA_VERSION = "1.0"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one contestant, all its jobs together."""

    writes: int
    elapsed_s: float
    """Of the job that took longest."""
    iops: float
    """Writes a second: the sum over the jobs, each by its own clock."""
    cpu_s: float
    """User and system time of all jobs."""
    flushes: int | None
    """By the device's counter, which counts those of others too; None: not known."""


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """How long single writes took, from a round of its own."""

    count: int
    p50_s: float
    p90_s: float
    p99_s: float
    p999_s: float
    max_s: float
    sorted_s: list[float]
    """All of them, or so many at equal distances, the least and the greatest among them."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one contestant did of one piece of work."""

    contestant: str
    is_ours: bool
    baseline: str
    """The contestant that its ratio is to; empty: none."""
    depth: int
    jobs: int
    why_not: str
    """Why there are no figures, or no more of them; empty where nothing is missing."""
    samples: list[Sample]
    """In the order of the rounds; sample n of all contestants is of round n."""
    latencies: Latencies | None
    why_no_latencies: str
    """Empty where they are there."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """On what it was measured."""

    kernel: str
    processor: str
    processors: int
    """How many there are; `allowed_processors` are those that could be used."""
    allowed_processors: list[int]
    python: str
    place: str
    """The folder or the device that was named."""
    file_system: str
    """Empty: on the device itself."""
    device: str
    """The disk below; empty where it is not known."""
    device_model: str
    write_cache: str
    """As the kernel has it: ``write back`` or ``write through``; empty: not known."""
    fua: str
    """``1``: the device takes FUA, by the kernel; empty: not known."""
    why_no_flushes: str
    """Why flushes cannot be counted; empty where they are."""
    build: dict[str, str]
    """What fuaio was built with: the facts of the report's section build, in words."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. A reader ignores keys that it does not know."""

    schema_version: str
    fuaio_version: str
    machine: Machine
    work: Work
    """What each result did, but for its depth and its jobs."""
    rounds: int
    results: list[Result]
