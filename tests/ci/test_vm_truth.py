"""The truth table: what counts as wrong, and how it is shown."""

from __future__ import annotations

import json
import signal

import pytest
import vm
from vm import is_enough, main
from vm_truth import Cell, count, lines, read_cells

HEAD = {"kernel": "6.1.0-50-cloud-amd64", "device": "nvme", "kind": "ext4"}


def cell(suite: str = "bookworm", **told: str) -> Cell:
    usual = {
        **HEAD,
        "engine": "io_uring",
        "what": "overwrite",
        "verdict": "native",
        "foretold": "fua",
        "seen": "1 FUA write",
        "why_not_seen": "",
    }
    (made,) = read_cells(suite, json.dumps({**usual, **told}))
    return made


@pytest.mark.parametrize(
    ("told", "result"),
    [
        ({}, "right"),
        ({"seen": "1 FUA write, 1 flush"}, "WRONG"),
        ({"seen": "1 write"}, "WRONG"),
        ({"verdict": "emulated", "foretold": "flush", "seen": "1 write, 1 flush"}, "right"),
        ({"verdict": "emulated", "foretold": "flush", "seen": "2 FUA writes, 2 flushes"}, "right"),
        ({"verdict": "emulated", "foretold": "flush"}, "WRONG"),
        ({"verdict": "not_needed", "foretold": "nothing", "seen": "3 writes"}, "right"),
        ({"verdict": "not_needed", "foretold": "nothing", "seen": "1 write, 1 flush"}, "WRONG"),
        ({"verdict": "none", "foretold": "nothing", "seen": "1 write"}, "right"),
        ({"verdict": "none", "foretold": "nothing", "seen": "1 write, 1 flush"}, "WRONG"),
        ({"verdict": "none", "foretold": "unknown", "seen": ""}, "right"),
        ({"verdict": "unknown", "foretold": "unknown", "seen": ""}, "unknown"),
        ({"verdict": "unknown", "foretold": "unknown"}, "WRONG"),
        ({"seen": ""}, "WRONG"),
        ({"verdict": "none", "foretold": "nothing", "seen": ""}, "WRONG"),
        ({"engine": "pwritev2", "verdict": "", "foretold": "", "seen": "1 write"}, "shown"),
    ],
)
def test_a_verdict_is_right_where_the_disk_was_asked_for_what_it_means(
    told: dict[str, str], result: str
) -> None:
    assert cell(**told).result == result


def test_what_could_not_be_made_is_counted_and_is_no_cell() -> None:
    text = json.dumps({**HEAD, "cannot": "no such module"})
    (made,) = read_cells("sid", text)
    assert made.result == "not made"
    assert count([made, cell()]).startswith("1 cells: 1 right, 0 WRONG, 0 unknown; 1 combinations")
    assert any("not made: no such module" in line for line in lines([made]))


def test_wrong_cells_stand_first_and_kernels_that_agree_share_a_line() -> None:
    cells = [
        cell(),
        cell("trixie", kernel="6.12.1+deb13-cloud-amd64"),
        cell(device="virtio-wb", seen="1 write, 1 flush"),
    ]
    _, _, first, second = lines(cells)
    assert first.startswith("| virtio-wb | ext4 | overwrite | native: 1 write, 1 flush (io_uring)")
    assert first.endswith("| WRONG |")
    assert second == (
        "| nvme | ext4 | overwrite | native: 1 FUA write (io_uring) | 6.1.0, 6.12.1 |  |"
    )


@pytest.mark.parametrize(
    ("cells", "least", "enough"),
    [
        ([], 1, False),
        ([cell()], 1, True),
        ([cell()], 100, False),
        ([cell()] * 100, 100, True),
        ([cell(seen="1 write"), *[cell()] * 100], 100, False),
        ([cell(verdict="unknown", foretold="unknown", seen="")], 1, False),
        ([Cell("sid", {**HEAD, "cannot": "no such module"})], 1, False),
    ],
)
def test_a_table_that_compares_too_little_fails(
    cells: list[Cell], least: int, enough: bool
) -> None:
    assert is_enough(cells, least) == enough


@pytest.mark.parametrize(
    "words",
    [
        ("powercut", "--steps", "0"),
        ("powercut", "--only", "io_uring/ext4"),
        ("powercut", "--only", "io_uring/ext4/fua/more"),
        ("truth", "--only", "nvme"),
        ("truth", "--only", "nvme/ntfs"),
    ],
)
def test_what_would_test_nothing_is_refused_before_anything_is_built(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vm, "wheel_of", lambda given: pytest.fail("built"))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("ci/vm: ")
