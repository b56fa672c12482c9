"""Requirements: what `fuaio check` is asked, and how facts decide it.

NAME, SECTION.NAME: a fact whose state must be yes.
[build.|library.]NAME SPECIFIERS: a version, as packaging writes it: liburing>=2.2.
engine:NAME: an engine that works here.
fua:PATH=VERDICT[,VERDICT]: what a durable write on PATH comes down to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from fuaio.probe._known import ENGINES, KNOWN, LIBRARY_OF, SECTIONS, VERDICTS, Key, as_unicode
from fuaio.probe._record import Fact
from fuaio.probe._words import escape, explain

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

Decision = Literal["met", "unmet", "undecidable"]
_NAME = re.compile(r"(?:([a-z][a-z0-9_]*)\.)?([A-Za-z_][A-Za-z0-9_]*)\s*")


class RequirementError(ValueError):
    """A requirement cannot be understood; the message is one line that names it."""


class Outcome(NamedTuple):
    """The answer to one requirement, and the fact that decided it."""

    decision: Decision
    why: str


class Requirement(Protocol):
    """One thing that is asked."""

    @property
    def target(self) -> str | None:
        """The path that it asks about; None where it asks about none."""

    def asks(self, also: Container[Key] = ()) -> tuple[Key, ...]:
        """Return the facts that decide it, the first one first.

        Args:
            also: Facts that a report has, beside those that are known of.

        Raises:
            RequirementError: It names a fact that nobody knows.
        """

    def decide(self, facts: Mapping[Key, Fact]) -> Outcome:
        """Return the answer that *facts* give."""


class _FactRequirement(NamedTuple):
    section: str | None
    name: str
    target: None = None

    def asks(self, also: Container[Key] = ()) -> tuple[Key, ...]:
        sections = SECTIONS if self.section is None else (self.section,)
        for known in (KNOWN, also):
            for section in sections:
                if (section, self.name) in known:
                    return ((section, self.name),)
        raise _unknown_name(self.section, self.name)

    def decide(self, facts: Mapping[Key, Fact]) -> Outcome:
        key = self.asks(facts)[0]
        fact = facts.get(key)
        if fact is None:
            return _absent(key)
        decisions: dict[str, Decision] = {"yes": "met", "no": "unmet", "unknown": "undecidable"}
        return Outcome(decisions[fact.state], explain(key[0], fact))


class _VersionRequirement(NamedTuple):
    section: str
    name: str
    specifiers: SpecifierSet
    target: None = None

    def asks(self, also: Container[Key] = ()) -> tuple[Key, ...]:
        for name in (f"{self.name}_version", self.name):
            key = (self.section, name)
            if name.endswith("_version") and (key in KNOWN or key in also):
                return (key,)
        if (self.section, self.name) in KNOWN:
            raise RequirementError(f"{self.section}.{self.name} has no version")
        raise _unknown_name(self.section, self.name)

    def decide(self, facts: Mapping[Key, Fact]) -> Outcome:
        from fuaio.probe._bounds import decide_version

        key = self.asks(facts)[0]
        fact = facts.get(key)
        if fact is None:
            return _absent(key)
        known = fact.value if isinstance(fact.value, str) else ""
        is_met = decide_version(known, self.specifiers)
        decision: Decision = "undecidable" if is_met is None else "met" if is_met else "unmet"
        return Outcome(decision, explain(key[0], fact))


class _EngineRequirement(NamedTuple):
    engine: str
    target: None = None

    def asks(self, also: Container[Key] = ()) -> tuple[Key, ...]:
        library = LIBRARY_OF.get(self.engine)
        keys = (("kernel", self.engine),)
        return keys if library is None else (*keys, ("build", library))

    def decide(self, facts: Mapping[Key, Fact]) -> Outcome:
        """A build without the library settles it also where the kernel was not asked."""
        keys = self.asks()
        fact = facts.get(keys[0])
        if fact is not None and fact.state != "unknown":
            return Outcome("met" if fact.state == "yes" else "unmet", explain("kernel", fact))
        library = facts.get(keys[-1])
        if len(keys) > 1 and library is not None and library.state == "no":
            return Outcome("unmet", explain("build", library))
        return _absent(keys[0]) if fact is None else Outcome("undecidable", explain("kernel", fact))


class _FuaRequirement(NamedTuple):
    target: str
    verdicts: tuple[str, ...]

    def asks(self, also: Container[Key] = ()) -> tuple[Key, ...]:
        return (("target", "overwrite"),)

    def decide(self, facts: Mapping[Key, Fact]) -> Outcome:
        path, fact = facts.get(("target", "path")), facts.get(("target", "overwrite"))
        if path is None or fact is None:
            return _absent(("target", "overwrite"))
        named = [as_unicode(name) for name in (self.target, os.path.realpath(self.target))]
        if path.value not in named:
            why = f"target.path = {path.value}: the report is not about {self.target}"
            return Outcome("undecidable", escape(why))
        is_met = (fact.value or "unknown") in self.verdicts
        decision: Decision = "undecidable" if fact.state == "unknown" else "unmet"
        return Outcome("met" if is_met else decision, explain("target", fact))


def parse_requirement(text: str) -> Requirement:
    """Return the requirement that *text* states.

    Raises:
        RequirementError: *text* does not follow the grammar.
    """
    if text.startswith("engine:"):
        return _parse_engine(text)
    if text.startswith("fua:"):
        return _parse_fua(text)
    match = _NAME.match(text)
    if match is None:
        raise RequirementError(f"{_quote(text)} begins with no name of a fact")
    section, name, rest = match[1], match[2], text[match.end() :]
    if rest:
        return _parse_version(text, section or "build", name, rest)
    return _FactRequirement(section, name)


def _parse_engine(text: str) -> Requirement:
    engine = text.removeprefix("engine:")
    if engine not in ENGINES:
        raise RequirementError(f"{_quote(text)}: the engines are {', '.join(ENGINES)}")
    return _EngineRequirement(engine)


def _parse_fua(text: str) -> Requirement:
    path, equals, words = text.removeprefix("fua:").rpartition("=")
    verdicts = tuple(words.split(","))
    if not equals or not path or not set(verdicts) <= set(VERDICTS):
        raise RequirementError(
            f"{_quote(text)} is not fua:PATH=VERDICT[,VERDICT]; "
            f"the verdicts are {', '.join(VERDICTS)}"
        )
    return _FuaRequirement(path, verdicts)


def _parse_version(text: str, section: str, name: str, rest: str) -> Requirement:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if section not in ("build", "library"):
        raise RequirementError(f"{_quote(text)}: only build and library have versions")
    try:
        specifiers = SpecifierSet(rest)
    except InvalidSpecifier:
        raise RequirementError(
            f"{_quote(text)}: {_quote(rest)} is no version specifier such as >=2.2,<3"
        ) from None
    if len(specifiers) == 0:
        raise RequirementError(f"{_quote(text)}: {_quote(rest)} names no version")
    return _VersionRequirement(section, name, specifiers)


def _absent(key: Key) -> Outcome:
    return Outcome("undecidable", f"{key[0]}.{key[1]} = unknown (not-asked): not in this report")


def _unknown_name(section: str | None, name: str) -> RequirementError:
    from difflib import get_close_matches

    names = sorted({known for place, known in KNOWN if section in (None, place)})
    near = get_close_matches(name, names, 1)
    hint = f"; did you mean {near[0]}?" if near else "; `fuaio report` shows all"
    full = name if section is None else f"{section}.{name}"
    return RequirementError(f"no fact is named {_quote(full)}{hint}")


def _quote(text: str) -> str:
    """Return *text* in quotes, on one line and not too long for one."""
    text = escape(text)
    return f"'{text[:77]}...'" if len(text) > 80 else f"'{text}'"
