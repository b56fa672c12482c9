"""Run the matrix of old and new headers, compilers and systems, and print what came of each cell.

Tiers: `probe` configures every cell; `compile` builds a pairwise cover of them and runs the tests
marked combination; `whole` runs the whole suite in cells with a name and in whole distributions.
The cells and what they have to give stand in ci/matrix.toml. Words choose the cells whose name has
them in it, or matches them as a pattern. The tables lie in build/matrix too, with every log.

Exits 0 if no cell is wrong, 1 if one is (or, with --require-all, is unreachable), 2 for a wrong
call.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count
from pathlib import Path

import matrix_show
import matrix_systems
import prefixes
from matrix_run import ROOT, Cells, Headers, Result, Task, carry_out
from matrix_table import Cell, Table, TableError, matching

TIERS = ("probe", "compile", "whole")


def parse(words: list[str]) -> argparse.Namespace:
    """Take the command line apart."""
    parser = argparse.ArgumentParser(
        prog="ci/matrix", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", metavar="CELL", help="part of a name, or a pattern")
    parser.add_argument("--tier", action="append", choices=TIERS, help="may be given again")
    parser.add_argument("--small", action="store_true", help="the few cells that ci/test runs")
    parser.add_argument("--list", action="store_true", help="print the cells and run none")
    parser.add_argument("--format", choices=matrix_show.FORMATS, default="text")
    parser.add_argument("--jobs", type=int, default=cpu_count() or 1, help="cells at once")
    parser.add_argument("--require-all", action="store_true", help="unreachable is a failure")
    parser.add_argument("--table", type=Path, default=ROOT / "ci" / "matrix.toml")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix")
    return parser.parse_args(words)


class Matrix:
    """The cells of a run as tasks, and the prefixes that they need."""

    def __init__(self, table: Table, *, small: bool) -> None:
        self.headers = Headers(prefixes.default_cache())
        self._table = table
        self._cells = Cells(table, self.headers)
        self._small = small
        self._needs: dict[Task, list[str]] = {}

    def tasks(self, tier: str) -> list[Task]:
        """Give the tasks of a tier."""
        if tier == "probe":
            if self._small:  # no other targets, whose compilers are a lot to install
                return [self._probe(cell) for cell in self._table.each_once()]
            return [self._probe(cell) for cell in self._table.cells()] + self._cross()
        if tier == "compile":
            chosen = self._table.named("small") if self._small else self._table.pairwise()
            return [self._compile(tier, cell, ["-m", "combination", "tests"]) for cell in chosen]
        if self._small:
            return []
        chosen = self._table.named("whole")
        return self._distributions() + [self._compile(tier, cell, ["tests"]) for cell in chosen]

    def needed(self, tasks: list[Task]) -> set[str]:
        """Give the names of the prefixes that these tasks need."""
        return {name for task in tasks for name in self._needs.get(task, [])}

    def _with(self, task: Task, needs: list[str]) -> Task:
        self._needs[task] = needs
        return task

    def _probe(self, cell: Cell) -> Task:
        task = Task("probe", cell.name, partial(self._cells.probe, cell))
        return self._with(task, self._cells.prefixes_of(cell))

    def _compile(self, tier: str, cell: Cell, tests: list[str]) -> Task:
        task = Task(tier, cell.name, partial(self._cells.compile, cell, tests))
        return self._with(task, self._cells.prefixes_of(cell))

    def _cross(self) -> list[Task]:
        tasks = []
        for target, row in self._table["targets"].items():
            for suite in row["suites"]:
                run = partial(matrix_systems.cross, self._table, self.headers, target, suite)
                task = Task("probe", f"target-{target}/{suite}", run)
                tasks.append(self._with(task, matrix_systems.cross_prefixes(target, suite)))
        return tasks

    def _distributions(self) -> list[Task]:
        names = self._table["distributions"]
        run = partial(matrix_systems.distribution, self._table)
        return [Task("whole", f"distribution-{name}", partial(run, name)) for name in names]


def selected(tasks: list[Task], patterns: list[str]) -> list[Task]:
    """Give the tasks whose cell is meant."""
    names = set(matching([task.cell for task in tasks], patterns))
    return [task for task in tasks if task.cell in names]


def run_tier(matrix: Matrix, tasks: list[Task], folder: Path, jobs: int) -> list[Result]:
    """Run tasks side by side; tell at once about those that are wrong."""

    def run(task: Task) -> Result:
        result = carry_out(task, folder)
        if result.result != "passed":
            sys.stderr.write(f"{result.result}: {task.tier} {task.cell}\n")
        return result

    with ThreadPoolExecutor(jobs) as pool:
        matrix.headers.make(matrix.needed(tasks), pool)
        return list(pool.map(run, tasks))


def main(words: list[str]) -> int:
    """Run what was asked for and print the table."""
    chosen = parse(words)
    try:
        matrix = Matrix(Table(chosen.table.resolve()), small=chosen.small)
        tiers = {tier: selected(matrix.tasks(tier), chosen.cells) for tier in chosen.tier or TIERS}
    except (TableError, KeyError, OSError) as error:
        print(f"ci/matrix: {chosen.table}: {error}", file=sys.stderr)
        return 2
    if not any(tiers.values()):
        print("ci/matrix: no such cell; --list shows them", file=sys.stderr)
        return 2
    if chosen.list:
        print(*(f"{tier} {task.cell}" for tier in tiers for task in tiers[tier]), sep="\n")
        return 0
    results: list[Result] = []
    seconds = {}
    for tier, tasks in tiers.items():
        if not tasks:
            continue
        began = time.monotonic()
        results += run_tier(matrix, tasks, chosen.folder.resolve(), chosen.jobs)
        seconds[tier] = time.monotonic() - began
    report = matrix_show.Report(results, seconds, matrix.headers.versions())
    for name, render in matrix_show.FORMATS.items():
        path = chosen.folder / f"table.{matrix_show.SUFFIXES[name]}"
        path.write_text(render(report), encoding="utf-8")
    print(matrix_show.FORMATS[chosen.format](report), end="")
    refused = {"WRONG", "unreachable"} if chosen.require_all else {"WRONG"}
    return 1 if any(result.result in refused for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
