"""Any sequence of calls on a file leaves what the same calls leave in a bytearray."""

from __future__ import annotations

import errno
import os
from array import array
from pathlib import Path
from typing import Any, Literal

import pytest
from core_files import assert_idle
from faults_table import ANSWER, FLUSH, READ, SHORT, WRITE, Faults
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fuaio.aio import ClosedError, File, aligned_buffer, open_file

LARGEST_UNITS = 24
UNITS = st.integers(0, LARGEST_UNITS)
SOME_UNITS = st.integers(0, 6)
UNITS_EACH = st.integers(1, 3)
SEED = st.integers(0, 255)
# Each sample is over at once, so that auto changes its way with every other batch.
OFTEN = {"write_ns": 5_000_000, "fua_ns": 5_000_000, "flush_ns": 5_000_000}
Durable = Literal["fua", "flush", "auto"] | None


def content(units: int, unit: int, seed: int) -> memoryview:
    """*units* times *unit* bytes, in memory that O_DIRECT takes."""
    length = units * unit
    buffer = memoryview(aligned_buffer(max(length, 1)))[:length]
    buffer[:] = bytes((seed + place) % 256 for place in range(length))
    return buffer


class FileMachine(RuleBasedStateMachine):
    """A file and its model. All offsets and lengths are multiples of `unit` bytes."""

    path: Path
    engine: str
    direct: bool
    faults: Faults
    file: File
    model: bytearray
    unit: int

    @initialize(depth=st.integers(1, 3))
    def begin(self, depth: int) -> None:
        self.faults.remove()
        self.faults.install()
        self.faults.clock(**OFTEN)
        self.path.unlink(missing_ok=True)
        self.depth = depth
        self.model = bytearray()
        self.file = self._open("x+")
        # Unaligned to everything where that is allowed.
        self.unit = max(self.file.memory_align, self.file.offset_align) if self.direct else 37

    def teardown(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
            assert self.path.read_bytes() == self.model

    def _open(self, mode: str) -> File:
        return open_file(self.path, mode, engine=self.engine, direct=self.direct, depth=self.depth)

    def _model_write(self, data: bytes, offset: int) -> None:
        if data:
            self.model.extend(bytes(max(0, offset - len(self.model))))
            self.model[offset : offset + len(data)] = data

    @rule(at=UNITS, units=SOME_UNITS, seed=SEED, fua=st.booleans())
    def pwrite(self, at: int, units: int, seed: int, fua: bool) -> None:
        data = content(units, self.unit, seed)
        assert self.file.pwrite(data, at * self.unit, fua=fua) == len(data)
        self._model_write(bytes(data), at * self.unit)

    @rule(at=UNITS, parts=st.lists(SOME_UNITS, max_size=5), seed=SEED, fua=st.booleans())
    def pwritev(self, at: int, parts: list[int], seed: int, fua: bool) -> None:
        buffers = [content(units, self.unit, seed + place) for place, units in enumerate(parts)]
        whole = b"".join(buffers)
        assert self.file.pwritev(buffers, at * self.unit, fua=fua) == len(whole)
        self._model_write(whole, at * self.unit)

    @rule(
        parts=st.lists(st.tuples(UNITS, SOME_UNITS), min_size=1, max_size=7),
        seed=SEED,
        durable=st.sampled_from(["fua", "flush", "auto", None]),
    )
    def write_batch(self, parts: list[tuple[int, int]], seed: int, durable: Durable) -> None:
        taken = set[int]()
        offsets, buffers = [], []
        for place, (at, units) in enumerate(parts):
            if taken.isdisjoint(range(at, at + units)):  # which of two is the last is not promised
                taken |= {*range(at, at + units)}
                offsets.append(at * self.unit)
                buffers.append(content(units, self.unit, seed + place))
        whole = sum(map(len, buffers))
        assert self.file.write_batch(offsets, buffers, durable=durable) == whole
        for offset, data in zip(offsets, buffers, strict=True):
            self._model_write(bytes(data), offset)

    @rule(ats=st.lists(UNITS, min_size=1, max_size=7, unique=True), units=UNITS_EACH, seed=SEED)
    def write_batch_of_one_buffer(self, ats: list[int], units: int, seed: int) -> None:
        block = units * self.unit
        data = content(len(ats) * units, self.unit, seed)
        offsets = array("q", [at * block for at in ats])
        assert self.file.write_batch(offsets, data, durable="flush") == len(data)
        for place, offset in enumerate(offsets):
            self._model_write(bytes(data[place * block : (place + 1) * block]), offset)

    @rule(parts=st.lists(st.tuples(UNITS, SOME_UNITS), min_size=1, max_size=7))
    def read_batch(self, parts: list[tuple[int, int]]) -> None:
        buffers = [content(units, self.unit, 0) for _, units in parts]
        offsets = [at * self.unit for at, _ in parts]
        expected = [
            self.model[at : at + len(buffer)] for at, buffer in zip(offsets, buffers, strict=True)
        ]
        assert self.file.read_batch(offsets, buffers) == [*map(len, expected)]
        for buffer, some in zip(buffers, expected, strict=True):
            assert buffer[: len(some)] == some

    @rule(at=UNITS, units=SOME_UNITS)
    def pread(self, at: int, units: int) -> None:
        begin = at * self.unit
        expected = self.model[begin : begin + units * self.unit]
        assert self.file.pread(units * self.unit, begin) == expected

    @rule(at=UNITS, parts=st.lists(SOME_UNITS, max_size=5))
    def preadv(self, at: int, parts: list[int]) -> None:
        begin = at * self.unit
        buffers = [content(units, self.unit, 0) for units in parts]
        expected = self.model[begin : begin + sum(parts) * self.unit]
        assert self.file.preadv(buffers, begin) == len(expected)
        assert b"".join(buffers)[: len(expected)] == expected

    @rule(metadata=st.booleans())
    def flush(self, metadata: bool) -> None:
        self.file.flush(metadata=metadata)

    @rule()
    def close_and_reopen(self) -> None:
        self.file.close()
        with pytest.raises(ClosedError):
            self.file.pread(1, 0)
        self.file = self._open("r+")

    @rule(kind=st.sampled_from([READ, WRITE]), units=st.integers(1, 5), less=st.integers(0, 36))
    def let_the_next_be_short(self, kind: int, units: int, less: int) -> None:
        # Under O_DIRECT only the end of a file makes a read end within a block.
        short = units * self.unit - (0 if self.direct and kind == READ else less)
        self._next(kind, SHORT, short)

    @rule(
        kind=st.sampled_from([READ, WRITE, FLUSH]),
        answer=st.sampled_from([-errno.EINTR, -errno.EAGAIN]),
    )
    def let_the_next_be_asked_again(self, kind: int, answer: int) -> None:
        self._next(kind, ANSWER, answer)

    def _next(self, kind: int, action: int, value: int) -> None:
        self.faults.restart()
        self.faults.rule(kind, action, value)

    @invariant()
    def nothing_is_left_behind(self) -> None:
        if hasattr(self, "file"):
            assert self.file.size == len(self.model)
            assert_idle(self.file)


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_any_sequence_of_calls_and_small_faults_leaves_what_the_model_has(
    scratch: Path, engine: str, faults: Faults, direct: bool
) -> None:
    attributes: dict[str, Any] = {
        "path": scratch / "file",
        "engine": engine,
        "direct": direct,
        "faults": faults,
    }
    machine = type("Machine", (FileMachine,), attributes)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("FUAIO_EXAMPLES", "25")),
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),  # a slow disk is no failure
        ),
    )
