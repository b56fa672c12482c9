"""What a file has counted and measured: `File.statistics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from fuaio.aio._core import lib

if TYPE_CHECKING:
    from fuaio.aio._core import CData

__all__ = ["AutoChoice", "Measured", "Registered", "Statistics", "statistics_of"]

_US = 1e6  # microseconds in a second
_COMPARED = 7  # aio/auto.h: FUAIO_SAMPLES


class Measured(NamedTuple):
    """How long the writes of ``durable="auto"`` took one way."""

    samples: int
    """How often it was measured, each time over 64 writes, or 5 ms, or more."""

    median_s: float | None
    """Seconds a write, the median of the latest seven samples; None: there is none yet."""


class AutoChoice(NamedTuple):
    """What ``durable="auto"`` does with batches of about one length, and so many writes at once."""

    widths: range
    """Writes at once: the smaller of the file's *depth* and the number of writes in the batch."""

    lengths: range
    """Bytes of a write, the mean of its batch."""

    chosen: Literal["fua", "flush"] | None
    """The way that such batches go; None: each is still measured in turns."""

    why: str
    """What was chosen, and by which figures, in a sentence."""

    fua: Measured
    """``RWF_DSYNC`` with each write, or what stands in for it."""

    flush: Measured
    """A flush for each group."""

    total_s: float
    """Seconds that such batches took."""

    trials_s: float
    """Seconds of these that went to the other way: at most 2 % in the long run."""

    switches: int
    """How often the choice changed after it was first made."""


class Registered(NamedTuple):
    """Whether the engine has the file's pool registered with the kernel, or why not."""

    buffers: bool
    """Whether it has: its requests then spare the kernel looking up pages."""

    why_not: str
    """In a sentence; empty where it has."""


class Statistics(NamedTuple):
    """Counts and measurements of one file since it was opened."""

    writes: int
    """Writes that the kernel completed; a short one and its tail are two."""

    flushes: int
    """Flushes that were submitted; one that was asked again is another."""

    auto: tuple[AutoChoice, ...]
    """One for each kind of batch that was written with ``durable="auto"``."""

    pool: Registered
    """Whether the pool that the file was opened with is registered with the kernel."""


def statistics_of(c: CData, pool: Registered) -> Statistics:
    """Return what a struct fuaio_statistics says, and how it stands with the *pool*."""
    choices = tuple(_choice_of(c.choice[number]) for number in range(c.choices))
    return Statistics(int(c.writes), int(c.flushes), choices, pool)


def _choice_of(c: CData) -> AutoChoice:
    fua = _measured_of(c.ways[lib.FUAIO_BY_FUA])
    flush = _measured_of(c.ways[lib.FUAIO_BY_GROUP])
    chosen: Literal["fua", "flush"] | None = None
    if c.known:
        chosen = "flush" if c.chosen == lib.FUAIO_BY_GROUP else "fua"
    return AutoChoice(
        widths=range(c.widths[0], c.widths[1]),
        lengths=range(c.lengths[0], c.lengths[1]),
        chosen=chosen,
        why=_why(chosen, fua, flush),
        fua=fua,
        flush=flush,
        total_s=float(c.total_s),
        trials_s=float(c.trials_s),
        switches=int(c.switches),
    )


def _measured_of(c: CData) -> Measured:
    return Measured(int(c.samples), float(c.median_s) if c.samples else None)


def _why(chosen: str | None, fua: Measured, flush: Measured) -> str:
    if chosen is None or fua.median_s is None or flush.median_s is None:
        return f"not known yet; samples so far: fua {fua.samples}, flush {flush.samples}"
    medians = {"fua": fua.median_s, "flush": flush.median_s}
    other = "flush" if chosen == "fua" else "fua"
    mine, its = medians[chosen] * _US, medians[other] * _US
    seen = f"{mine:.1f} us a write against {its:.1f} us with {other}"
    least = min(fua.samples, flush.samples, _COMPARED)
    kept = "; a switch needs a lead of 10 %" if its < mine else ""
    return f"{chosen}: {seen}, medians of {least}{kept}"
