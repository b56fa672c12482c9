"""The table of the matrix: its cells, and what each has to give for the versions found."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from suites import SUITES

LIBRARIES = ("libaio", "liburing")
OK = "yes ok"
MISSING = "no symbol-missing"
UNUSABLE = "unknown header-unusable"


# What a row of each table may say; what a misspelt key meant would go unnoticed.
KEYS = {
    "has_fua": {"function", "helper"},
    "kinds.libaio": {"prefix", "answer", "as_version", "without"},
    "kinds.liburing": {"prefix", "answer", "as_version", "without"},
    "named": {"libaio", "liburing", "c_std", "compiler", "whole", "small"},
    "distributions": {"suite", "tools"},
}
SECTIONS = {
    *[
        "symbols",
        "has_fua",
        "strict",
        "kinds",
        "dimensions",
        "named",
        "targets",
        "distributions",
        "packages",
    ]
}
DIMENSIONS = ["libaio", "liburing", "c_std", "compiler"]
ANSWERS = {"no disabled", "no library-missing", "no header-missing", MISSING, UNUSABLE}
TOOLS = {"index", "own"}


class TableError(Exception):
    """The table says something that makes no sense."""


@dataclass(frozen=True)
class Expected:
    """What a fact has to be: state and reason, or a value; and the table's line that says so."""

    fact: str
    answer: str
    line: int


@dataclass(frozen=True)
class Cell:
    """One combination: its kinds of headers, its flags and its compiler."""

    name: str
    libaio: str
    liburing: str
    c_std: str
    compiler: str

    def kind(self, library: str) -> str:
        """Give the kind of header of *library*."""
        return self.libaio if library == "libaio" else self.liburing


@dataclass(frozen=True)
class Libc:
    """The C library that is built against."""

    name: str
    version: str


def numbers(version: str) -> tuple[int, ...]:
    """Give a version to be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def is_at_least(version: str, since: str) -> bool:
    """Whether *version* is *since* or newer."""
    return numbers(version) >= numbers(since)


def is_strict(c_std: str) -> bool:
    """Whether that language has no extensions."""
    return not c_std.startswith("gnu")


def bounds(versions: Mapping[str, str], answers: Mapping[str, str]) -> str:
    """Give the bounds of a version that follow from which symbols are there."""
    there = [since for name, since in versions.items() if answers[name] == OK]
    missing = [since for name, since in versions.items() if answers[name] == MISSING]
    words = [f">={max(there, key=numbers)}"] if there else []
    return ",".join([*words, f"<{min(missing, key=numbers)}"] if missing else words)


class Table:
    """The table in the file *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = path.read_text(encoding="utf-8").splitlines()
        try:
            self._data: dict[str, Any] = tomllib.loads("\n".join(self._text))
        except tomllib.TOMLDecodeError as error:
            raise TableError(str(error)) from None
        self._check()

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 (a table of TOML)
        return self._data[key]

    def _check(self) -> None:
        """Refuse what nothing would read, or what could not be met."""
        if set(self._data) != SECTIONS:
            raise TableError(f"the tables are {sorted(SECTIONS)}, not {sorted(self._data)}")
        if list(self["dimensions"]) != DIMENSIONS:
            raise TableError(f"[dimensions] are {DIMENSIONS}, not {list(self['dimensions'])}")
        for section, keys in KEYS.items():
            for name, row in self._section(section).items():
                self._require(section, name, set(row) - keys, f"is not one of {sorted(keys)}")
        for library in LIBRARIES:
            section = f"kinds.{library}"
            for name, row in self._section(section).items():
                unknown = {row.get("answer", UNUSABLE)} - ANSWERS
                self._require(section, name, unknown, f"is no answer: {sorted(ANSWERS)}")
                unknown = set(row.get("without", [])) - set(self["symbols"][library])
                self._require(section, name, unknown, "is no symbol of the table")
            kinds = set(self["kinds"][library])
            self._require(
                "dimensions", library, set(self["dimensions"][library]) - kinds, "is no kind"
            )
            for name, row in self["named"].items():
                self._require("named", name, {row[library]} - kinds, f"is no kind of {library}")
        for name, row in self["distributions"].items():
            self._require("distributions", name, {row["suite"]} - {*SUITES}, "is no suite")
            self._require(
                "distributions", name, {row["tools"]} - TOOLS, f"is not in {sorted(TOOLS)}"
            )
        for name, row in self["targets"].items():
            line = f"targets.{name}"
            self._require(line, "suites", set(row["suites"]) - {*SUITES}, "is no suite")

    def _section(self, name: str) -> dict[str, Any]:
        found = self._data
        for part in name.split("."):
            found = found[part]
        return found

    def _require(self, section: str, name: str, wrong: set[str], why: str) -> None:
        if wrong:
            word = min(wrong)
            raise TableError(f"line {self.line(section, name)}: [{section}] {name}: {word} {why}")

    def line(self, section: str, key: str) -> int:
        """Give the number of the line with *key* in the table *section*."""
        start = self._text.index(f"[{section}]")
        for number, text in enumerate(self._text[start + 1 :], start=start + 2):
            if text.startswith(f"{key} ="):
                return number
        raise TableError(f"{self.path}: [{section}] has no {key}")

    def cells(self) -> list[Cell]:
        """Give every combination."""
        return [self._cell(values) for values in itertools.product(*self["dimensions"].values())]

    def pairwise(self) -> list[Cell]:
        """Give few combinations that have every two values together."""
        # Needed here alone: the table is of use without it, too.
        from allpairspy import AllPairs

        return [self._cell(values) for values in AllPairs(list(self["dimensions"].values()))]

    def each_once(self) -> list[Cell]:
        """Give as few combinations as have every value."""
        values = self["dimensions"].values()
        rows = range(max(len(choices) for choices in values))
        return [self._cell([choices[row % len(choices)] for choices in values]) for row in rows]

    def named(self, mark: str) -> list[Cell]:
        """Give the combinations with a name that have the *mark*."""
        return [
            self._cell([row[dimension] for dimension in self["dimensions"]], name)
            for name, row in self["named"].items()
            if row.get(mark)
        ]

    def _cell(self, values: Sequence[str], name: str = "") -> Cell:
        libaio, liburing, c_std, compiler = values
        name = name or f"libaio-{libaio}/liburing-{liburing}/{c_std}/{compiler}"
        return Cell(name, libaio, liburing, c_std, compiler)

    def prefix(self, library: str, kind: str) -> str:
        """Give the name of the prefix with that *kind* of header."""
        return str(self["kinds"][library][kind]["prefix"])

    def expected(self, cell: Cell, versions: Mapping[str, str], libc: Libc) -> list[Expected]:
        """Give what the build's facts have to be, given the *versions* found of the libraries."""
        facts = []
        for library in LIBRARIES:
            facts += self._of_library(library, cell.kind(library), versions[library], cell.c_std)
        return facts + self._symbols(libc.name, libc.version, {})

    def _of_library(self, library: str, kind: str, version: str, c_std: str) -> list[Expected]:
        row = self["kinds"][library][kind]
        line = self.line(f"kinds.{library}", kind)
        function, helper = (self["has_fua"][library][key] for key in ("function", "helper"))
        strict_since = self["strict"].get(library, "0")
        answer = row.get("answer", OK)
        if answer == OK and is_strict(c_std) and not is_at_least(version, strict_since):
            answer, line = UNUSABLE, self.line("strict", library)
        if answer != OK:
            names = [library, *self["symbols"][library], function]
            return [Expected(name, answer, line) for name in names]
        removed = dict.fromkeys(row.get("without", []), line)
        symbols = self._symbols(library, row.get("as_version", version), removed)
        of = {one.fact: one for one in symbols}
        told = version
        if library == "libaio":  # it has no version of its own
            told = bounds(self["symbols"][library], {name: one.answer for name, one in of.items()})
        return [
            Expected(library, OK, line),
            *symbols,
            Expected(function, of[helper].answer, of[helper].line),
            Expected(f"{library}_version", told, line),
        ]

    def _symbols(self, library: str, version: str, removed: Mapping[str, int]) -> list[Expected]:
        """Give what came with which version; those that were *removed* by the line that says so."""
        found = []
        for name, since in self["symbols"][library].items():
            is_there = is_at_least(version, since) and name not in removed
            line = removed.get(name) or self.line(f"symbols.{library}", name)
            found.append(Expected(name, OK if is_there else MISSING, line))
        return found

    def refusal(self, expected: list[Expected]) -> Expected:
        """Give how -Drequire_fua=libaio,liburing has to end: the first that is not met, and why."""
        of = {one.fact: one for one in expected}
        for library in LIBRARIES:
            answer = of[self["has_fua"][library]["function"]]
            if answer.answer != OK:
                reason = answer.answer.split()[1]
                return Expected("require_fua", f"{library} {reason}", answer.line)
        return Expected("require_fua", "met", of["laio_has_fua"].line)


def matching(names: list[str], patterns: list[str]) -> list[str]:
    """Give the *names* that one of the *patterns* means: all, where there is no pattern.

    A pattern is a whole name, or else a part of names, or matches them.
    """

    def means(one: str, name: str) -> bool:
        return name == one if one in names else one in name or fnmatchcase(name, one)

    return [name for name in names if not patterns or any(means(one, name) for one in patterns)]
