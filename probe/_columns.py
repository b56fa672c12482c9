"""Renderings of a scan: a row for each fact, a column for each place. None hides an answer."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fuaio.probe._record import Fact
from fuaio.probe._render import markdown_cell, render
from fuaio.probe._scan import Column, Scan
from fuaio.probe._words import column, escape, state_text, value_text

# What is said of the scan, and not of a place. JSON has it.
_NOT_SHOWN = ("buildtype", "meson_version", "require_fua")
_FAILED = "error"


def render_scan(found: Scan, format_: str, macro_prefix: str = "") -> str:
    """Return *found* as text in one of `FORMATS`, with a final newline.

    Where no place answered, people get nothing but the errors, which are told elsewhere.

    Args:
        found: What to show; for macros it has one place.
        format_: One of `FORMATS`.
        macro_prefix: Put before each macro's name; a C identifier, or empty.
    """
    if format_ == "json":
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"
    reports = [column.report for column in found.places if column.report is not None]
    if not reports:
        return ""
    if format_ == "macros":
        return render(reports[0], format_, macro_prefix)
    return _text(found) if format_ == "text" else _markdown(found)


def _facts(column: Column) -> dict[str, Fact]:
    facts = column.report.sections["build"] if column.report is not None else []
    return {fact.name: fact for fact in facts if fact.name not in _NOT_SHOWN}


def _rows(found: Scan, cell: Callable[[Fact], str]) -> list[list[str]]:
    """Return a row for each fact: its name, and what each place says."""
    columns = [_facts(column) for column in found.places]
    names = dict.fromkeys(name for facts in columns for name in facts)
    return [
        [name, *(cell(facts[name]) if name in facts else _FAILED for facts in columns)]
        for name in names
    ]


def _notes(found: Scan) -> list[tuple[str, str, str]]:
    """Return place, fact and detail of all that needs more words; said once of a place."""
    notes = {}
    for place in found.places:
        if place.error is not None:
            notes[place.place, place.error] = _FAILED
        for fact in _facts(place).values():
            if fact.detail:
                notes.setdefault((place.place, fact.detail), fact.name)
    return [(label, name, detail) for (label, detail), name in notes.items()]


def _word(fact: Fact) -> str:
    """Return what *fact* says without a blank in it."""
    return f"{fact.state}:{fact.reason}" if fact.state != "yes" else _positive(fact)


def _words(fact: Fact) -> str:
    return state_text(fact) if fact.state != "yes" else _positive(fact)


def _positive(fact: Fact) -> str:
    return value_text(fact.value) if fact.kind == "observation" else "yes"


def _text(found: Scan) -> str:
    rows = [["FACT", *(column(place.place) for place in found.places)], *_rows(found, _word)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [" ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    notes = [f"# {column(label)} {name}: {escape(detail)}" for label, name, detail in _notes(found)]
    return "\n".join([f"# {_title(found)}", *lines, *notes]) + "\n"


def _markdown(found: Scan) -> str:
    rows = [["fact", *(place.place for place in found.places)], *_rows(found, _words)]
    lines = ["| " + " | ".join(map(markdown_cell, row)) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    notes = [
        f"- {markdown_cell(label)}, {markdown_cell(name)}: {markdown_cell(detail)}"
        for label, name, detail in _notes(found)
    ]
    return "\n".join([f"# {_title(found)}", "", *lines, *([""] if notes else []), *notes]) + "\n"


def _title(found: Scan) -> str:
    return f"fuaio {escape(found.fuaio_version)}, scan, schema {escape(found.schema_version)}"
