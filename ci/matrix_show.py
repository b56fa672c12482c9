"""The result of the matrix as one table: text, Markdown, JSON; the wrong cells on top."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from matrix_run import Result, Wrong

ORDER = ("WRONG", "unreachable", "passed")


def ordered(results: list[Result]) -> list[Result]:
    """Give the wrong ones first, then those that were not reached."""
    return sorted(results, key=lambda one: ORDER.index(one.result))


def counts(results: list[Result], seconds: Mapping[str, float]) -> list[str]:
    """Give a line per tier: how many cells gave what, and the time it took."""
    lines = []
    for tier, spent in seconds.items():
        of = Counter(one.result for one in results if one.tier == tier)
        words = [f"{of[result]} {result}" for result in reversed(ORDER)]
        lines.append(f"{tier}: {of.total()} cells in {spent:.0f} s: {', '.join(words)}")
    return lines


def _finding(wrong: Wrong) -> str:
    return f"{wrong.what}: expected {wrong.expected}, found {wrong.found} ({wrong.place})"


def text(results: list[Result], seconds: Mapping[str, float]) -> str:
    """Render as plain text, one cell a line, what is wrong with it below."""
    width = max((len(one.cell) for one in results), default=0)
    lines = []
    for one in ordered(results):
        row = f"{one.result:11} {one.tier:7} {one.cell:{width}} {one.seconds:6.1f} s  {one.found}"
        lines += [row.rstrip(), *(f"    {_finding(wrong)}" for wrong in one.wrong)]
    return "\n".join([*lines, "", *counts(results, seconds)]) + "\n"


def markdown(results: list[Result], seconds: Mapping[str, float]) -> str:
    """Render as a table of Markdown."""
    lines = ["| result | tier | cell | seconds | found |", "|---|---|---|---|---|"]
    for one in ordered(results):
        words = "<br>".join([one.found, *map(_finding, one.wrong)]).replace("|", "\\|")
        lines.append(f"| {one.result} | {one.tier} | {one.cell} | {one.seconds:.1f} | {words} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in counts(results, seconds))]) + "\n"


def as_json(results: list[Result], seconds: Mapping[str, float]) -> str:
    """Render as JSON: the results, and the seconds of each tier."""
    cells = [asdict(one) for one in ordered(results)]
    return json.dumps({"cells": cells, "tier_seconds": dict(seconds)}, indent=1) + "\n"


FORMATS = {"text": text, "markdown": markdown, "json": as_json}
SUFFIXES = {"text": "txt", "markdown": "md", "json": "json"}
