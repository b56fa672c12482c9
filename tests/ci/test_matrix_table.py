"""A table of the matrix that makes no sense is refused, and the workflow runs all of the cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matrix import TIERS, Matrix, main, parse, selected
from matrix_run import compare
from matrix_table import Table, TableError
from meson_runs import SOURCE

TABLE = SOURCE / "ci" / "matrix.toml"
WORKFLOW = SOURCE / ".github" / "workflows" / "matrix.yml"


def line_of(text: str, words: str) -> int:
    return text[: text.index(words)].count("\n") + 1


@pytest.mark.parametrize(
    ("seed", "for_", "said"),
    [
        ('trixie = { suite = "trixi"', 'trixie = { suite = "trixie"', "trixi is no suite"),
        ('tools = "onw" }', 'tools = "own" }', "onw is not in"),
        ("witout = [", "without = [", "witout is not one of"),
        ("smal = true", "small = true", "smal is not one of"),
        ('answer = "no such-reason"', 'answer = "no disabled"', "no such-reason is no answer"),
        ('without = ["io_x"', 'without = ["io_uring_prep_writev2"', "io_x is no symbol"),
        ('libaio = ["bullsey"', 'libaio = ["bullseye"', "bullsey is no kind"),
        ('suites = ["bullseye", "sdi"]', 'suites = ["bullseye", "sid"]', "sdi is no suite"),
    ],
)
def test_a_slip_is_pointed_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: str, for_: str, said: str
) -> None:
    text = TABLE.read_text().replace(for_, seed, 1)
    table = tmp_path / "table.toml"
    table.write_text(text)
    assert main(["--table", str(table), "--list"]) == 2
    assert f"{table}: line {line_of(text, seed)}: " in (errors := capsys.readouterr().err)
    assert said in errors


@pytest.mark.parametrize(
    ("seed", "for_"), [("[strct]", "[strict]"), ("[named", "[named]"), ("c_st =", "c_std =")]
)
def test_what_is_no_table_of_ours_is_refused(tmp_path: Path, seed: str, for_: str) -> None:
    table = tmp_path / "table.toml"
    table.write_text(TABLE.read_text().replace(f"\n{for_}", f"\n{seed}", 1))
    with pytest.raises(TableError):
        Table(table)


def test_a_capability_that_the_table_does_not_know_is_wrong() -> None:
    fact = {"kind": "capability", "state": "yes", "reason": "ok"}
    (wrong,) = compare({"io_uring_prep_new": fact}, [], Table(TABLE))
    assert (wrong.what, wrong.found) == ("io_uring_prep_new", "yes ok")


def test_the_groups_of_the_workflow_are_all_of_the_cells() -> None:
    pytest.importorskip("allpairspy")
    matrix = Matrix(Table(TABLE), small=False)
    every = {(tier, task.cell) for tier in TIERS for task in matrix.tasks(tier)}
    run = set()
    for group in re.findall(r"(?m)^ +- (--tier .*)$", WORKFLOW.read_text()):
        chosen = parse(group.split())
        for tier in chosen.tier:
            run |= {(tier, task.cell) for task in selected(matrix.tasks(tier), chosen.cells)}
    assert run == every
