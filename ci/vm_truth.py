"""The truth table: what was foretold, and what was seen, as cells, a table and a count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell, as guest_truth.py printed it.

    Attributes:
        suite: Whose kernel it is.
        told: The line.
    """

    suite: str
    told: dict[str, str]

    @property
    def result(self) -> str:
        """Right, WRONG, unknown, or why there is no cell."""
        told = self.told
        if "cannot" in told:
            return "not made"
        if told["engine"] == "pwritev2":
            return "shown"
        if not told["seen"]:
            # In memory there is no disk to see. Elsewhere this machine can see, and must have.
            in_memory = (told["verdict"], told["foretold"]) == ("none", "unknown")
            return "right" if in_memory else "unknown" if told["verdict"] == "unknown" else "WRONG"
        if told["verdict"] == "unknown" or told["foretold"] == "unknown":
            return "WRONG"
        return "right" if told["foretold"] == means(told["seen"]) else "WRONG"


def means(seen: str) -> str:
    """Return what a sight means: fua, flush or nothing besides the write."""
    return "flush" if "flush" in seen else "fua" if "FUA" in seen else "nothing"


def read_cells(suite: str, output: str) -> list[Cell]:
    """Return the cells of a machine's output."""
    return [Cell(suite, json.loads(line)) for line in output.splitlines()]


def lines(cells: Sequence[Cell]) -> Iterator[str]:
    """Give the table in Markdown, a line for what kernels have in common, the wrong ones first."""
    yield "| device | file system | write | verdict: seen, by engine | kernels | |"
    yield "|---|---|---|---|---|---|"
    kernels: dict[tuple[str, ...], list[str]] = {}
    for (kernel, device, kind, what), group in _groups(cells).items():
        mark = "WRONG" if any(cell.result == "WRONG" for cell in group) else ""
        key = (device, kind, what, _words_of(group), mark)
        kernels.setdefault(key, []).append(kernel)
    for parts, names in sorted(kernels.items(), key=lambda item: not item[0][-1]):
        device, kind, what, words, mark = parts
        yield f"| {device} | {kind} | {what} | {words} | {', '.join(names)} | {mark} |"


def _groups(cells: Sequence[Cell]) -> dict[tuple[str, str, str, str], list[Cell]]:
    groups: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in cells:
        told = cell.told
        kernel = told["kernel"].partition("-")[0].partition("+")[0]
        key = (kernel, told["device"], told["kind"], told.get("what", ""))
        groups.setdefault(key, []).append(cell)
    return groups


def _words_of(group: Sequence[Cell]) -> str:
    by_words: dict[str, list[str]] = {}
    for cell in group:
        by_words.setdefault(_words(cell), []).append(cell.told.get("engine", ""))
    return "; ".join(
        f"{text} ({', '.join(engines)})" if any(engines) else text
        for text, engines in by_words.items()
    )


def _words(cell: Cell) -> str:
    told = cell.told
    if "cannot" in told:
        return f"not made: {told['cannot']}"
    seen = told["seen"] or f"not seen ({told['why_not_seen']})"
    return f"{told['verdict']}: {seen}" if told["verdict"] else seen


def right(cells: Sequence[Cell]) -> int:
    """Return how many verdicts were seen to hold."""
    return sum(cell.result == "right" for cell in cells)


def count(cells: Sequence[Cell]) -> str:
    """Return how many there are of each result."""
    found = Counter(cell.result for cell in cells)
    verdicts = sum(found[word] for word in ("right", "WRONG", "unknown"))
    return (
        f"{verdicts} cells: {found['right']} right, {found['WRONG']} WRONG, "
        f"{found['unknown']} unknown; {found['not made']} combinations could not be made"
    )
