"""The result of the matrix as one table: text, Markdown, JSON; the wrong cells on top."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from matrix_run import Result, Wrong

ORDER = ("WRONG", "unreachable", "passed")


@dataclass(frozen=True)
class Report:
    """A run: what came of each cell, the seconds of each tier, the versions of the headers."""

    results: list[Result]
    seconds: Mapping[str, float]
    headers: Mapping[str, str]

    def ordered(self) -> list[Result]:
        """Give the wrong ones first, then those that were not reached."""
        return sorted(self.results, key=lambda one: ORDER.index(one.result))

    def summary(self) -> list[str]:
        """Give the headers, and a line per tier: how many cells gave what, in what time."""
        lines = [" ".join(["headers found:", "; ".join(map(" ".join, self.headers.items()))])]
        for tier, spent in self.seconds.items():
            of = Counter(one.result for one in self.results if one.tier == tier)
            words = ", ".join(f"{of[result]} {result}" for result in reversed(ORDER))
            lines.append(f"{tier}: {of.total()} cells in {spent:.0f} s: {words}")
        return lines


def _finding(wrong: Wrong) -> str:
    return f"{wrong.what}: expected {wrong.expected}, found {wrong.found} ({wrong.place})"


def text(report: Report) -> str:
    """Render as plain text, one cell a line, what is wrong with it below."""
    width = max((len(one.cell) for one in report.results), default=0)
    lines = []
    for one in report.ordered():
        row = f"{one.result:11} {one.tier:7} {one.cell:{width}} {one.seconds:6.1f} s  {one.found}"
        lines += [row.rstrip(), *(f"    {_finding(wrong)}" for wrong in one.wrong)]
    return "\n".join([*lines, "", *report.summary()]) + "\n"


def markdown(report: Report) -> str:
    """Render as a table of Markdown."""
    lines = ["| result | tier | cell | seconds | found |", "|---|---|---|---|---|"]
    for one in report.ordered():
        words = "<br>".join([one.found, *map(_finding, one.wrong)]).replace("|", "\\|")
        lines.append(f"| {one.result} | {one.tier} | {one.cell} | {one.seconds:.1f} | {words} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in report.summary())]) + "\n"


def as_json(report: Report) -> str:
    """Render as JSON, without losing anything."""
    cells = [asdict(one) for one in report.ordered()]
    whole = {"cells": cells, "tier_seconds": report.seconds, "headers": report.headers}
    return json.dumps(whole, indent=1) + "\n"


FORMATS = {"text": text, "markdown": markdown, "json": as_json}
SUFFIXES = {"text": "txt", "markdown": "md", "json": "json"}
