"""The matrix says what is wrong with which cell, and by which line of its table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from matrix_run import Result, Wrong
from matrix_show import FORMATS, Report
from matrix_table import Cell, Libc, Table, matching
from meson_runs import OF_THE_CALLER, SOURCE, tool
from prefixes import system_version

pytestmark = pytest.mark.builds

TABLE = SOURCE / "ci" / "matrix.toml"
GLIBC = Libc("glibc", "2.36")


@pytest.fixture(scope="module")
def table() -> Table:
    """The table of the matrix as it is."""
    return Table(TABLE)


def cell(libaio: str = "newest", liburing: str = "newest", c_std: str = "gnu11") -> Cell:
    return Cell("cell", libaio, liburing, c_std, "gcc")


def answers(table: Table, cell: Cell, **versions: str) -> dict[str, str]:
    """Give what is expected by name, for the *versions* found."""
    found = {"libaio": "0.3.113", "liburing": "2.15", **versions}
    return {one.fact: one.answer for one in table.expected(cell, found, GLIBC)}


@pytest.mark.parametrize(("version", "answer"), [("2.1", "no symbol-missing"), ("2.2", "yes ok")])
def test_what_is_expected_follows_from_the_version_and_not_from_the_name_of_the_suite(
    table: Table, version: str, answer: str
) -> None:
    for kind in ("bullseye", "newest"):
        of = answers(table, cell(liburing=kind), liburing=version)
        assert of["io_uring_prep_writev2"] == of["luring_has_fua"] == answer
        assert of["liburing_version"] == version


def test_versions_are_compared_by_their_numbers(table: Table) -> None:
    of = answers(table, cell(), liburing="2.9")
    assert of["io_uring_prep_writev_fixed"] == "no symbol-missing"  # came with 2.10


def test_an_ablated_header_lacks_its_helper_whatever_its_version(table: Table) -> None:
    of = answers(table, cell("ablated", "ablated"), liburing="99")
    assert of["laio_has_fua"] == of["luring_has_fua"] == "no symbol-missing"
    assert of["io_uring_queue_init_mem"] == "yes ok"
    assert of["libaio_version"] == "<0.3.111"


def test_liburing_before_2_0_is_unusable_in_strict_c_alone(table: Table) -> None:
    assert answers(table, cell(), liburing="0.7")["liburing"] == "yes ok"
    strict = answers(table, cell(c_std="c11"), liburing="0.7")
    assert strict["liburing"] == strict["luring_has_fua"] == "unknown header-unusable"
    assert answers(table, cell(c_std="c11"), liburing="2.0")["liburing"] == "yes ok"


@pytest.mark.parametrize(
    ("libaio", "liburing", "ends"),
    [
        ("newest", "newest", "met"),
        ("disabled", "unusable", "libaio disabled"),
        ("newest", "unusable", "liburing header-unusable"),
        ("newest", "ablated", "liburing symbol-missing"),
    ],
)
def test_a_demand_is_refused_for_the_first_library_that_does_not_meet_it(
    table: Table, libaio: str, liburing: str, ends: str
) -> None:
    versions = {"libaio": "0.3.113", "liburing": "2.15"}
    expected = table.expected(cell(libaio, liburing), versions, GLIBC)
    assert table.refusal(expected).answer == ends


def test_the_table_expects_something_of_every_symbol_that_is_probed(table: Table) -> None:
    probed = (SOURCE / "probe/symbols/table/meson.build").read_text()
    rows = re.findall(r"\['HAVE_\w+', '[\w./]+', '(\w+)'", probed)
    assert rows
    expected = [
        name for library in ("libaio", "liburing", "glibc") for name in table["symbols"][library]
    ]
    assert sorted(rows) == sorted(expected)


def test_an_expectation_names_the_line_that_it_stands_in(table: Table) -> None:
    lines = TABLE.read_text().splitlines()
    versions = {"libaio": "0.3.113", "liburing": "2.15"}
    for one in table.expected(cell("disabled"), versions, GLIBC):
        if one.answer == "no disabled":
            assert lines[one.line - 1].startswith('disabled = { prefix = "libaio-disabled"')
        elif one.fact == "io_uring_prep_writev2":
            assert lines[one.line - 1].startswith("io_uring_prep_writev2 =")


def test_every_combination_is_a_cell_and_every_kind_has_a_prefix(table: Table) -> None:
    cells = table.cells()
    assert len(cells) == len(set(cells)) == 140
    for library in ("libaio", "liburing"):
        assert all(table.prefix(library, one.kind(library)) for one in cells)


def test_the_pairwise_cover_has_every_two_values_together(table: Table) -> None:
    pytest.importorskip("allpairspy")
    cover = table.pairwise()
    assert len(cover) >= 30
    assert pairs(cover) == pairs(table.cells())


def pairs(cells: list[Cell]) -> set[tuple[tuple[int, str], ...]]:
    """Give every two values that are together in one of the *cells*."""
    return {
        pair
        for one in cells
        for pair in combinations(enumerate((one.libaio, one.liburing, one.c_std, one.compiler)), 2)
    }


RESULTS = [
    Result("probe", "good", "passed", "all", 1.0),
    Result("probe", "far", "unreachable", "sid: unreachable", 0.1),
    Result(
        "probe", "bad", "WRONG", "", 2.0, [Wrong("liburing", "yes ok", "no disabled", "t.toml:7")]
    ),
]


REPORT = Report(RESULTS, {"probe": 3.0}, {"liburing-sid": "2.15"})


@pytest.mark.parametrize("name", FORMATS)
def test_wrong_cells_stand_on_top_with_what_was_expected_found_and_where(name: str) -> None:
    shown = FORMATS[name](REPORT)
    positions = [shown.index(word) for word in ("bad", "far", "good")]
    assert positions == sorted(positions)
    for words in ("yes ok", "no disabled", "t.toml:7"):
        assert words in shown


def test_the_table_ends_with_the_headers_found_and_the_counts_and_time_of_each_tier() -> None:
    assert FORMATS["text"](REPORT).endswith(
        "headers found: liburing-sid 2.15\n"
        "probe: 3 cells in 3 s: 1 passed, 1 unreachable, 1 WRONG\n"
    )
    in_json = json.loads(FORMATS["json"](REPORT))
    assert [one["cell"] for one in in_json["cells"]] == ["bad", "far", "good"]
    assert in_json["headers"] == {"liburing-sid": "2.15"}


class Copy:
    """A table of one cell, with headers made of this system's alone, to be changed and run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "table.toml"
        text = TABLE.read_text()
        text = re.sub(r"(?ms)^\[targets\..*?(?=^# Whole)", "[targets]\n", text)
        self.path.write_text(text)
        self.only("system", "system-unusable")

    def only(self, libaio: str, liburing: str) -> None:
        """Leave one cell, with these kinds of headers."""
        self.change(r"(?m)^libaio = \[.*", f'libaio = ["{libaio}"]')
        self.change(r"(?m)^liburing = \[\"b.*|^liburing = \[\"s.*", f'liburing = ["{liburing}"]')
        self.change(r"(?m)^c_std = .*", 'c_std = ["gnu11"]')
        self.change(r"(?m)^compiler = \[.*", 'compiler = ["gcc"]')

    def change(self, old: str, new: str) -> int:
        """Change one place of the table; give the number of its line."""
        text = self.path.read_text()
        found = re.search(old, text)
        assert found is not None
        self.path.write_text(text[: found.start()] + new + text[found.end() :])
        return text[: found.start()].count("\n") + 1

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run tier probe."""
        clean = {key: value for key, value in os.environ.items() if key not in OF_THE_CALLER}
        path = f"{Path(tool('meson')).parent}:{os.environ['PATH']}"
        prefixes = str(self.folder / "prefixes")
        options = [f"--table={self.path}", f"--folder={self.folder / 'made'}"]
        return subprocess.run(
            [sys.executable, SOURCE / "ci/matrix.py", "--tier=probe", *options, *words],
            env={**clean, "PATH": path, "FUAIO_PREFIXES": prefixes, **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A table that can be run without a network."""
    if not system_version("libaio"):
        pytest.skip("no package manager here that tells the version of libaio")
    return Copy(tmp_path)


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        ([], ["sid", "sid-own", "trixie"]),
        (["sid"], ["sid"]),
        (["s*"], ["sid", "sid-own"]),
        (["own", "tri"], ["sid-own", "trixie"]),
        (["bookworm"], []),
    ],
)
def test_a_whole_name_means_that_cell_alone(patterns: list[str], meant: list[str]) -> None:
    assert matching(["sid", "sid-own", "trixie"], patterns) == meant


def test_a_run_without_a_wrong_cell_ends_well_and_keeps_its_tables(copy: Copy) -> None:
    done = copy.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "require_fua: liburing header-unusable" in done.stdout
    assert "1 passed" in done.stdout
    assert (copy.folder / "made/table.txt").read_text() == done.stdout
    assert (
        json.loads((copy.folder / "made/table.json").read_text())["cells"][0]["result"] == "passed"
    )


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        # A version that is too new: the symbol is there all the same.
        (
            r'io_prep_pwritev2 = "0.3.111"',
            'io_prep_pwritev2 = "99"',
            "io_prep_pwritev2: expected no symbol-missing, found yes ok",
        ),
        # What does not compile is not told apart from what lacks the symbol.
        (
            r'(?m)^system-unusable = \{ prefix = "liburing-broken".*',
            'system-unusable = { prefix = "liburing-broken", answer = "no symbol-missing" }',
            "io_uring_prep_writev2: expected no symbol-missing, found unknown header-unusable",
        ),
        (
            r'(?m)^system-unusable = \{ prefix = "liburing-broken".*',
            'system-unusable = { prefix = "liburing-broken", answer = "no disabled" }',
            "require_fua: expected liburing disabled, found liburing header-unusable",
        ),
    ],
)
def test_a_wrong_expectation_fails_the_run_and_is_pointed_at(
    copy: Copy, old: str, new: str, finding: str
) -> None:
    line = copy.change(old, new)
    done = copy.run()
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("WRONG ")
    assert re.search(rf"{re.escape(finding)} \(\S*/{copy.path.name}:{line}\)", done.stdout)


def test_a_suite_that_cannot_be_reached_is_not_passed(copy: Copy, tmp_path: Path) -> None:
    copy.only("bullseye", "system")
    fake = tmp_path / "bin" / "apt-get"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 100\n")
    fake.chmod(0o755)
    path = f"{fake.parent}:{Path(tool('meson')).parent}:{os.environ['PATH']}"
    done = copy.run(PATH=path)
    assert done.returncode == 0
    assert done.stdout.startswith("unreachable ")
    assert "0 passed, 1 unreachable, 0 WRONG" in done.stdout
    assert copy.run("--require-all", PATH=path).returncode == 1


def test_a_compiler_that_is_not_there_is_a_wrong_cell_with_the_words_of_meson(copy: Copy) -> None:
    copy.change(r'(?m)^compiler = \["gcc"\]', 'compiler = ["no-such-compiler"]')
    done = copy.run()
    assert done.returncode == 1
    assert "no-such-compiler" in done.stdout
    assert "the configure failed" in done.stdout


def test_a_cell_that_does_not_exist_is_a_wrong_call(copy: Copy) -> None:
    done = copy.run("no-such-cell")
    assert done.returncode == 2
    assert "--list" in done.stderr
