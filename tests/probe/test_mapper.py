"""What the kernel answers of a mapping's targets; ci/vm truth asks it of real ones."""

from __future__ import annotations

import struct

import pytest

from fuaio.probe._mapper import _parse, targets_of

BUFFER_FULL = 1 << 8
HEAD = 312  # struct dm_ioctl


def answer(*names: str, flags: int = 0) -> bytes:
    """What DM_TABLE_STATUS leaves in its buffer: of each target, how it is, behind its name."""
    head = struct.pack("=3I7IQ", 4, 48, 0, 1 << 14, HEAD, len(names), 1, flags, 0, 0, 253 << 8)
    specs, at = b"", 0
    for number, name in enumerate(names):
        status = b"0 1 of some length"[: 3 + number].ljust(8 * (number + 1), b"\0")
        at += 40 + len(status)
        specs += struct.pack("=QQiI16s", 0, 2048, 0, at, name.encode()) + status
    return (head.ljust(HEAD, b"\0") + specs).ljust(1 << 14, b"\0")


@pytest.mark.parametrize("names", [(), ("linear",), ("linear", "crypt", "multipath")])
def test_each_target_has_its_name(names: tuple[str, ...]) -> None:
    assert _parse(answer(*names)) == names


def test_an_answer_that_did_not_fit_is_none() -> None:
    assert _parse(answer("linear", flags=BUFFER_FULL)) == ()


@pytest.mark.parametrize("number", ["", "x:y", "4095:1048575"])
def test_what_is_no_mapping_has_no_targets(number: str) -> None:
    assert targets_of(number) == ()
