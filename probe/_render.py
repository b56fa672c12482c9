"""Renderings of the one record: text, JSON, C macros, Markdown. None adds a fact or hides one."""

from __future__ import annotations

import re
from collections.abc import Callable

from fuaio.probe._record import Fact, Report, encode_report
from fuaio.probe._words import column, escape, value_text

FORMATS = ("text", "json", "macros", "markdown")
_HEAD = ("FACT", "STATE", "VALUE", "UNIT", "REASON", "SOURCE", "DETAIL")


def render(report: Report, format_: str = "text", macro_prefix: str = "") -> str:
    """Return *report* as text in one of `FORMATS`, with a final newline.

    Args:
        report: What to show.
        format_: One of `FORMATS`.
        macro_prefix: Put before each macro's name; a C identifier, or empty.

    Raises:
        ValueError: *macro_prefix* is not a C identifier, or *format_* is not known.
    """
    require_macro_prefix(macro_prefix)
    renderers: dict[str, Callable[[], str]] = {
        "text": lambda: _text(report),
        "json": lambda: encode_report(report).decode(),
        "macros": lambda: _macros(report, macro_prefix),
        "markdown": lambda: _markdown(report),
    }
    if format_ not in renderers:
        raise ValueError(f"{format_!r} is not one of {', '.join(FORMATS)}")
    return renderers[format_]()


def require_macro_prefix(text: str) -> None:
    """Raise ValueError where *text* is neither a C identifier nor empty."""
    if text and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) is None:
        raise ValueError(f"macro prefix {text!r} is not a C identifier")


def _title(report: Report) -> str:
    return f"fuaio {escape(report.fuaio_version)}, report schema {escape(report.schema_version)}"


def _text(report: Report) -> str:
    rows: list[tuple[str, ...]] = [_HEAD]
    for section, facts in report.sections.items():
        rows += [_row(section, fact) for fact in facts]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD) - 1)]
    lines = [" ".join(map(str.ljust, row, (*widths, 0))).rstrip() for row in rows]
    return "\n".join([f"# {_title(report)}", *lines, *_answers(report)]) + "\n"


def _answers(report: Report) -> list[str]:
    """Say last what was most likely asked for: what the best engine comes to at the target."""
    facts = {fact.name: fact for fact in report.sections.get("target", ())}
    lines = []
    for name, which in (("overwrite", "An overwrite"), ("append", "An append")):
        if name in facts and "path" in facts and facts[name].reason != "no-append":
            found, where = facts[name], value_text(facts["path"].value)
            verdict = "unknown" if found.value is None else value_text(found.value)
            lines.append(f"# {which} at {where} is {verdict}. {escape(found.detail)}")
    return lines


def _row(section: str, fact: Fact) -> tuple[str, ...]:
    name, value = f"{section}.{fact.name}", value_text(fact.value)
    rest = (column(cell) for cell in (fact.unit, fact.reason, fact.source))
    return (name, fact.state, value, *rest, escape(fact.detail))


def _macros(report: Report, prefix: str) -> str:
    lines = [f"/* {_comment(_title(report))} */"]
    for section, facts in report.sections.items():
        lines += [_macro(section, fact, prefix) for fact in facts if fact.kind == "capability"]
    return "\n".join(lines) + "\n"


def _macro(section: str, fact: Fact, prefix: str) -> str:
    """HAVE_ is 0 or 1 for -Wundef; an unknown one has no HAVE_, so that using it is an error."""
    name = fact.name if section == "build" else f"{section}_{fact.name}"
    if fact.state == "unknown":
        macro = f"{prefix}{name.upper()}_UNKNOWN 1"
    else:
        macro = f"{prefix}HAVE_{name.upper()} {int(fact.state == 'yes')}"
    if fact.state == "yes":
        return f"#define {macro}"
    why = f"{fact.reason}: {fact.detail}" if fact.detail else fact.reason
    return f"#define {macro} /* {_comment(why)} */"


def _comment(text: str) -> str:
    """Nothing in the text may end the comment, or start another (-Wcomment)."""
    return re.sub(r"\*(?=/)|/(?=\*)", lambda match: match[0] + " ", escape(text))


def _markdown(report: Report) -> str:
    lines = [f"# {markdown_cell(_title(report))}"]
    for section, facts in report.sections.items():
        lines += ["", f"## {section}", ""]
        lines += ["| fact | state | value | unit | reason | source | detail |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_markdown_row(fact) for fact in facts]
    return "\n".join(lines) + "\n"


def _markdown_row(fact: Fact) -> str:
    value = value_text(fact.value)
    cells = (fact.name, fact.state, value, fact.unit, fact.reason, fact.source, fact.detail)
    return "| " + " | ".join(markdown_cell(cell) for cell in cells) + " |"


def markdown_cell(text: str) -> str:
    """Return *text* for a cell of a table: what Markdown would act on is escaped.

    An underscore inside a word is left, so that it can be searched for.
    """
    return re.sub(r"[\\|`*<>\[\]&~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", escape(text))
