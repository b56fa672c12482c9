"""Decide a version specifier where only bounds of the version are known.

libaio has no version: its headers' symbols tell ">=0.3.111,<0.3.112". What every version within
the bounds meets is met, what none of them can meet is unmet, the rest is undecidable.
"""

from __future__ import annotations

from typing import NamedTuple

from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version


class _Interval(NamedTuple):
    """The versions between two ends; None is no end. The flags say whether an end belongs to it."""

    low: Version | None = None
    has_low: bool = False
    high: Version | None = None
    has_high: bool = False

    def is_empty(self) -> bool:
        if self.low is None or self.high is None or self.low < self.high:
            return False
        return self.low > self.high or not (self.has_low and self.has_high)

    def meet(self, other: _Interval) -> _Interval:
        """Return what lies in both."""
        low, has_low = self.low, self.has_low
        if other.low is not None and (low is None or other.low >= low):
            has_low = other.has_low and (other.low != low or has_low)
            low = other.low
        high, has_high = self.high, self.has_high
        if other.high is not None and (high is None or other.high <= high):
            has_high = other.has_high and (other.high != high or has_high)
            high = other.high
        return _Interval(low, has_low, high, has_high)

    def holds(self, other: _Interval) -> bool:
        """Whether all of *other* lies in this one."""
        return other.is_empty() or self.meet(other) == other


def decide_version(known: str, wanted: SpecifierSet) -> bool | None:
    """Return whether a version meets *wanted*; None where what is known does not decide.

    Args:
        known: A version, or its bounds as a specifier set.
        wanted: The requirement.
    """
    try:
        if known[:1] not in ("<", ">", "=", "~", "!"):
            return wanted.contains(Version(known), prereleases=True)
        bounds = _all(SpecifierSet(known))
    except ValueError:  # neither a version nor bounds that can be read
        return None
    return None if bounds is None or bounds.is_empty() else _decide_bounds(bounds, wanted)


def _all(specifiers: SpecifierSet) -> _Interval | None:
    """Return the one interval that *specifiers* name; None if they exclude or compare text."""
    whole = _Interval()
    for specifier in specifiers:
        interval = None if specifier.operator == "!=" else _interval(specifier)
        if interval is None:
            return None
        whole = whole.meet(interval)
    return whole


def _decide_bounds(bounds: _Interval, wanted: SpecifierSet) -> bool | None:
    left, met = bounds, True
    for specifier in wanted:
        interval = _interval(specifier)
        if interval is None:
            met = False
        elif specifier.operator == "!=":
            if interval.holds(bounds):
                return False
            met = met and bounds.meet(interval).is_empty()
        else:
            left = left.meet(interval)
            met = met and interval.holds(bounds)
    if left.is_empty():
        return False
    return True if met else None


def _interval(specifier: Specifier) -> _Interval | None:
    """Return the versions that *specifier* names, for != those that it excludes."""
    operator, text = specifier.operator, specifier.version
    is_prefix = text.endswith(".*")
    try:
        version = Version(text.removesuffix(".*"))
    except InvalidVersion:  # === takes any text
        return None
    if operator == "~=":
        return _Interval(version, True, _next(version, len(version.release) - 1), False)
    if is_prefix:
        return _Interval(version, True, _next(version, len(version.release)), False)
    return {
        "==": _Interval(version, True, version, True),
        "!=": _Interval(version, True, version, True),
        ">=": _Interval(low=version, has_low=True),
        "<=": _Interval(high=version, has_high=True),
        ">": _Interval(low=version),
        "<": _Interval(high=version),
    }.get(operator)


def _next(version: Version, count: int) -> Version:
    """Return the first release that differs in the first *count* numbers of *version*."""
    *head, last = version.release[:count]
    return Version(f"{version.epoch}!" + ".".join(map(str, (*head, last + 1))))
