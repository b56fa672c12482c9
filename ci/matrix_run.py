"""What is done with a cell of the matrix, and what comes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prefixes
import suites
from matrix_table import LIBRARIES, Cell, Expected, Libc, Table
from prefixes import Prefix

ROOT = Path(__file__).resolve().parents[1]
# Seconds. What takes longer hangs.
SETUP_LIMIT_S = 300
TEST_LIMIT_S = 3600
REFUSED = re.compile(r"require_fua=(\w+)(?: contradicts|: no FUA through \w+ \(([a-z-]+))")


class CellError(Exception):
    """A step of a cell that has to succeed did not."""


@dataclass(frozen=True)
class Wrong:
    """What a cell gave and should not have: where to look, a line of the table or a log."""

    what: str
    expected: str
    found: str
    place: str


@dataclass(frozen=True)
class Task:
    """A cell to be run in a tier; it gives a line about what was found, and what is wrong."""

    tier: str
    cell: str
    run: Callable[[Path], tuple[str, list[Wrong]]]


@dataclass(frozen=True)
class Result:
    """What came of a cell: passed, WRONG, or unreachable."""

    tier: str
    cell: str
    result: str
    found: str
    seconds: float
    wrong: list[Wrong] = field(default_factory=list)


def run(
    command: Sequence[str | Path],
    log: Path,
    limit_s: float,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command in the source's folder without input; give its exit code.

    What it prints comes to the end of *log*.
    """
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(map(str, command))}\n")
        file.flush()
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            file.write(f"no end within {limit_s} s\n")
            return 124
    return done.returncode


def last_lines(log: Path, count: int = 3) -> str:
    """Give the last words of a log, for a table."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return " | ".join([line.strip() for line in lines if line.strip()][-count:])


def read_facts(build_json: Path) -> dict[str, dict[str, Any]]:
    """Give the facts of a build by their names."""
    section = json.loads(build_json.read_text(encoding="utf-8"))["sections"]["build"]
    return {fact["name"]: fact for fact in section}


def answer(fact: Mapping[str, Any]) -> str:
    """Give a fact as the table has it: its value if it is an observation, else state and reason."""
    if fact["kind"] == "observation":
        return str(fact["value"])
    return f"{fact['state']} {fact['reason']}"


def compare(
    facts: Mapping[str, Mapping[str, Any]], expected: Iterable[Expected], table: Table
) -> list[Wrong]:
    """Give the facts that are not as the table has them."""
    wrong, wanted = [], list(expected)
    for one in wanted:
        found = answer(facts[one.fact]) if one.fact in facts else "no such fact"
        if found != one.answer:
            wrong.append(Wrong(one.fact, one.answer, found, place(table, one.line)))
    asked = {one.fact for one in wanted}
    for name, fact in facts.items():
        if fact["kind"] == "capability" and name not in asked:
            wrong.append(Wrong(name, "a line in the table", answer(fact), place(table, 1)))
    return wrong


def place(table: Table, line: int) -> str:
    """Give a line of the table as something to click on."""
    path = table.path
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{line}"


def summary(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """Give what a build's headers gave, in a few words."""
    words = []
    for library, function in (("libaio", "laio_has_fua"), ("liburing", "luring_has_fua")):
        fact, version = facts[library], facts[f"{library}_version"]["value"]
        told = f"FUA {answer(facts[function])}" if fact["state"] == "yes" else answer(fact)
        words.append(" ".join(filter(None, [library, version, told])))
    return "; ".join(words)


def tests_summary(log: Path) -> str:
    """Give pytest's own last line."""
    lines = re.findall(r"(?m)^=+ (.* in [\d.]+s.*?) =+$", log.read_text(errors="replace"))
    return str(lines[-1]) if lines else "no end of the tests"


def refusal(log: Path, start: int) -> str:
    """Give how a configure with require_fua ended, of the log from *start* on."""
    said = " ".join(log.read_bytes()[start:].decode(errors="replace").split())
    found = REFUSED.search(said)
    return f"{found[1]} {found[2] or 'disabled'}" if found else f"failed: {said[-200:]}"


def system_libc() -> Libc:
    """Give this system's C library."""
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    return Libc(name, version)


def package_version(package: str, root: str = "/") -> str:
    """Give the upstream version of an installed Debian package."""
    database = f"{root}/var/lib/dpkg"
    command = ["dpkg-query", f"--admindir={database}", "--show", "--showformat=${Version}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return suites.upstream(done.stdout)


class Headers:
    """The prefixes that cells build against, each made once; or why one cannot be had."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._made: dict[str, Prefix | Exception] = {}

    def make(self, names: Iterable[str], pool: ThreadPoolExecutor) -> None:
        """Make those prefixes."""
        wanted = sorted(set(names) - set(self._made))
        self._made.update(zip(wanted, pool.map(self._make, wanted), strict=True))

    def _make(self, name: str) -> Prefix | Exception:
        try:
            return prefixes.make(name, self._cache)
        except (suites.UnreachableError, prefixes.UsageError) as error:
            return error

    def versions(self) -> dict[str, str]:
        """Give the version found in each prefix that was made."""
        made = sorted(self._made.items())
        return {name: one.version for name, one in made if isinstance(one, Prefix) and one.version}

    def __getitem__(self, name: str) -> Prefix:
        made = self._made[name]
        if isinstance(made, Exception):
            raise made
        if made.folder is not None and not made.version:
            raise suites.UnreachableError(f"{name}: no version known, nothing to expect")
        return made


class Cells:
    """What can be done with a combination of headers, flags and compiler."""

    def __init__(self, table: Table, headers: Headers) -> None:
        self._table = table
        self._headers = headers
        self._libc = system_libc()

    def prefixes_of(self, cell: Cell) -> list[str]:
        """Give the names of the prefixes that a cell needs."""
        return [self._table.prefix(library, cell.kind(library)) for library in LIBRARIES]

    def _prepared(self, cell: Cell) -> tuple[list[Expected], list[str], dict[str, str]]:
        """Give what is expected, the arguments of meson setup, and the variables."""
        made = [self._headers[name] for name in self.prefixes_of(cell)]
        versions = {one.library: one.version for one in made}
        expected = self._table.expected(cell, versions, self._libc)
        environment = {**os.environ, **prefixes.variables(made), "CC": cell.compiler}
        return expected, [f"-Dc_std={cell.c_std}", *prefixes.options(made)], environment

    def probe(self, cell: Cell, folder: Path) -> tuple[str, list[Wrong]]:
        """Configure; then again with require_fua, which has to end as the table says."""
        expected, arguments, environment = self._prepared(cell)
        return probe(self._table, folder, ROOT, expected, arguments, environment)

    def compile(self, cell: Cell, tests: Sequence[str], folder: Path) -> tuple[str, list[Wrong]]:
        """Build and install as for a release, and run the *tests*."""
        expected, arguments, environment = self._prepared(cell)
        log = folder / "log"
        if run(["bash", ROOT / "ci/cell", folder, *arguments], log, SETUP_LIMIT_S, environment):
            raise CellError(f"the build failed: {last_lines(log)}")
        facts = read_facts(folder / "meson/probe/symbols/build.json")
        wrong = compare(facts, expected, self._table)
        # Not the build's flags and compiler: what the tests build themselves has its own.
        environment = {
            **os.environ,
            "FUAIO_EXPECT": expectation(expected),
            "FUAIO_REQUIRE_ENGINES": engines(facts),
            "LD_LIBRARY_PATH": environment["LD_LIBRARY_PATH"],
            "PATH": f"{folder}/environment/bin:{os.environ['PATH']}",
        }
        command: list[str | Path]
        # With its own folder for files, since runs side by side clean up the common one.
        own = ["-o", f"cache_dir={folder}/pytest-cache", f"--basetemp={folder}/tests"]
        command = ["python", "-m", "pytest", *own, *tests]
        # What a test mounts goes with it.
        if os.geteuid() == 0 and run(["unshare", "--mount", "true"], log, SETUP_LIMIT_S) == 0:
            command = ["unshare", "--mount", *command]
        code = run(command, log, TEST_LIMIT_S, environment)
        told = tests_summary(log)
        if code:
            wrong.append(Wrong("tests", "passed", told, str(log)))
        return f"{summary(facts)}; {told}", wrong


def probe(
    table: Table,
    folder: Path,
    source: Path,
    expected: list[Expected],
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> tuple[str, list[Wrong]]:
    """Configure *source*, and once more with require_fua; compare with what is *expected*."""
    log, build = folder / "log", folder / "meson"
    setup: list[str | Path] = ["meson", "setup", build]
    if run([*setup, source, *arguments], log, SETUP_LIMIT_S, environment):
        raise CellError(f"the configure failed: {last_lines(log)}")
    (build_json,) = build.rglob("build.json")
    facts = read_facts(build_json)
    wrong = compare(facts, expected, table)
    start = log.stat().st_size
    again = [*setup, "--reconfigure", "-Drequire_fua=libaio,liburing"]
    code = run(again, log, SETUP_LIMIT_S, environment)
    demand = table.refusal(expected)
    found = refusal(log, start) if code else "met"
    if found != demand.answer:
        library = found.split()[0]  # the one that was refused, if one was
        line = next((one.line for one in expected if one.fact == library), demand.line)
        wrong.append(Wrong(demand.fact, demand.answer, found, place(table, line)))
    return f"{summary(facts)}; require_fua: {found}", wrong


def expectation(expected: Iterable[Expected]) -> str:
    """Give the states of facts as tests/probe/test_build_agrees.py takes them."""
    states = (one for one in expected if " " in one.answer)
    return " ".join(f"{one.fact}={one.answer.split()[0]}" for one in states)


def engines(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """Give the engines that have to work: what the kernel gives less what is not built in."""
    given = os.environ.get("FUAIO_REQUIRE_ENGINES", "").split()
    of = {"linux_aio": "libaio", "io_uring": "liburing"}
    built = [name for name in given if name not in of or facts[of[name]]["state"] == "yes"]
    return " ".join(built)


def _keep_log(folder: Path) -> None:
    """Remove what was built, which is a lot for all cells, and keep the log."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)


def carry_out(task: Task, folder: Path) -> Result:
    """Run a task in a folder of its own; whatever happens is a result."""
    began = time.monotonic()
    place = folder / task.tier / re.sub(r"[^\w.-]+", "_", task.cell)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    result = "passed"
    wrong: list[Wrong] = []
    try:
        found, wrong = task.run(place)
    except suites.UnreachableError as error:
        result, found = "unreachable", str(error)
    except CellError as error:
        found = ""
        wrong = [Wrong("run", "goes through", str(error), str(place / "log"))]
    except Exception as error:  # noqa: BLE001 (the other cells are to be run all the same)
        found = ""
        wrong = [Wrong("run", "goes through", f"{type(error).__name__}: {error}", "a fault of ci/")]
    if wrong:
        result = "WRONG"
    else:
        _keep_log(place)
    return Result(task.tier, task.cell, result, found, time.monotonic() - began, wrong)
