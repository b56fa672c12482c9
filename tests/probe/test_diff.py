"""What a comparison of two reports finds."""

from __future__ import annotations

from typing import Literal

import pytest

from fuaio.probe import Fact, Report, ReportError, Value, compare

State = Literal["yes", "no", "unknown"]
REASON: dict[State, str] = {"yes": "ok", "no": "symbol-missing", "unknown": "header-unusable"}


def report(*facts: Fact, schema: str = "1.0", section: str = "build") -> Report:
    """Return a report of one section."""
    return Report(schema, "0.1.0", {section: list(facts)})


def capability(state: State, name: str = "x") -> Fact:
    """Return a capability with the usual reason for its state."""
    return Fact(name, "capability", state, REASON[state])


def observation(value: Value) -> Fact:
    """Return an observation; of None, one that was not learnt."""
    if value is None:
        return Fact("v", "observation", "unknown", "not-learnt")
    return Fact("v", "observation", "yes", "ok", value)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("yes", "no", "lost"),
        ("yes", "unknown", "lost"),
        ("no", "yes", "gained"),
        ("unknown", "yes", "gained"),
        ("no", "unknown", "changed"),
        ("unknown", "no", "changed"),
    ],
)
def test_a_capability_is_lost_only_if_it_was_yes(before: State, after: State, change: str) -> None:
    found = compare(report(capability(before)), report(capability(after)))
    assert [difference.change for difference in found] == [change]


@pytest.mark.parametrize("state", REASON)
def test_what_stays_the_same_is_no_difference(state: State) -> None:
    assert compare(report(capability(state)), report(capability(state))) == []


@pytest.mark.parametrize(("before", "after"), [("gcc 12", "gcc 14"), ("2.3", None), (1, 2)])
def test_an_observation_changes_and_is_never_lost(before: Value, after: Value) -> None:
    found = compare(report(observation(before)), report(observation(after)))
    assert [difference.change for difference in found] == ["changed"]


def test_another_reason_for_no_is_a_change() -> None:
    disabled = Fact("x", "capability", "no", "disabled")
    (difference,) = compare(report(capability("no")), report(disabled))
    assert str(difference) == "changed   build.x: no (symbol-missing) -> no (disabled)"


def test_a_fact_that_the_first_report_did_not_know_was_not_asked() -> None:
    (difference,) = compare(report(), report(capability("no")))
    assert str(difference) == "not-asked build.x: not in this report -> no (symbol-missing)"


def test_a_fact_that_an_older_second_report_did_not_know_was_not_asked() -> None:
    (difference,) = compare(report(capability("yes"), schema="1.2"), report(schema="1.1"))
    assert difference.change == "not-asked"


@pytest.mark.parametrize("schema", ["1.1", "1.2"])
def test_a_capability_that_a_report_no_older_leaves_out_is_lost(schema: str) -> None:
    (difference,) = compare(report(capability("yes"), schema="1.1"), report(schema=schema))
    assert str(difference) == "lost      build.x: yes (ok) -> not in this report"


def test_differences_come_in_the_order_of_the_first_report() -> None:
    first = report(capability("yes", "b"), capability("yes", "a"))
    second = report(capability("no", "a"), capability("yes", "c"), capability("no", "b"))
    assert [str(d).split()[1] for d in compare(first, second)] == [
        "build.b:",
        "build.a:",
        "build.c:",
    ]


def test_only_the_sections_asked_for_are_compared() -> None:
    first = Report("1.0", "0", {"build": [capability("yes")], "kernel": [capability("no")]})
    second = Report("1.0", "0", {"build": [capability("no")], "kernel": [capability("yes")]})
    assert [d.section for d in compare(first, second)] == ["build"]
    assert [d.section for d in compare(first, second, ["kernel"])] == ["kernel"]


def test_a_report_without_the_section_is_refused_and_not_taken_for_equal() -> None:
    whole, other = report(capability("yes")), report(section="kernel")
    with pytest.raises(ReportError, match="the second report has no section build"):
        compare(whole, other)
    with pytest.raises(ReportError, match="the first report has no section build"):
        compare(other, whole)
