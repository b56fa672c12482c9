"""How facts are put into words: one line each, whatever a report that was read may hold."""

from __future__ import annotations

import json

from fuaio.probe._record import Fact, Value


def escape(text: str) -> str:
    """Return *text* on one line: what is not printable becomes a backslash and its number.

    So no report can move the cursor, colour the terminal or begin a line of its own.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def column(text: str) -> str:
    """Return *text* as one column: a dash for nothing, quoted if it has spaces or quotes."""
    if not text:
        return "-"
    text = escape(text)
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


def value_text(value: Value) -> str:
    """Return *value* as one column; an empty text is "", a value not learnt is a dash."""
    if isinstance(value, str):
        return column(value) if value else '""'
    return "-" if value is None else json.dumps(value)


def state_text(fact: Fact) -> str:
    """Return what *fact* says: the value of an observation, else the state and the reason."""
    if fact.kind == "observation" and fact.state == "yes":
        return value_text(fact.value)
    return f"{fact.state} ({fact.reason})"


def explain(section: str, fact: Fact) -> str:
    """Return *fact* as it stands in an answer: section.name = what it says: detail."""
    detail = f": {escape(fact.detail)}" if fact.detail else ""
    return f"{section}.{fact.name} = {state_text(fact)}{detail}"
