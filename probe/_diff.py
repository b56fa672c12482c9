"""What differs between two reports: did a capability get lost on the way from one to the other?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from fuaio.probe._record import Fact, Report, ReportError, schema_minor
from fuaio.probe._words import state_text

Change = Literal["lost", "gained", "changed", "not-asked"]


class Difference(NamedTuple):
    """One fact that differs; None where a report does not have it."""

    change: Change
    section: str
    before: Fact | None
    after: Fact | None

    def __str__(self) -> str:
        fact = self.before or self.after
        name = fact.name if fact else ""
        return f"{self.change:<9} {self.section}.{name}: {_say(self.before)} -> {_say(self.after)}"


def compare(
    before: Report, after: Report, sections: Iterable[str] = ("build",)
) -> list[Difference]:
    """Return what differs in *sections*, in the order of *before*, then what *after* adds.

    A capability that was yes and is no or unknown is lost. A fact that the older report did not
    know of is not-asked: nobody can say how it would have been answered.

    Raises:
        ReportError: One of the reports has not got the section.
    """
    differences: list[Difference] = []
    can_forget = schema_minor(after.schema_version) < schema_minor(before.schema_version)
    for section in sections:
        for word, report in (("first", before), ("second", after)):
            if section not in report.sections:
                raise ReportError(f"sections: the {word} report has no section {section}")
        old = {fact.name: fact for fact in before.sections[section]}
        new = {fact.name: fact for fact in after.sections[section]}
        for name in [*old, *(name for name in new if name not in old)]:
            change = _change(old.get(name), new.get(name), can_forget)
            if change is not None:
                differences.append(Difference(change, section, old.get(name), new.get(name)))
    return differences


def _change(before: Fact | None, after: Fact | None, can_forget: bool) -> Change | None:
    if before is None or after is None:
        # Minor versions only add facts, so what a report that is not older leaves out is gone.
        was_yes = before is not None and before.kind == "capability" and before.state == "yes"
        return "lost" if was_yes and not can_forget else "not-asked"
    if before.kind == "capability" and before.state != after.state:
        if before.state == "yes":
            return "lost"
        if after.state == "yes":
            return "gained"
    same = (before.state, before.value, before.reason) == (after.state, after.value, after.reason)
    return None if same else "changed"


def _say(fact: Fact | None) -> str:
    return "not in this report" if fact is None else state_text(fact)
