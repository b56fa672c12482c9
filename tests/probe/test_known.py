"""The table of known facts: every one is always told, and everything else is derived from it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from fuaio.probe import KNOWN, SCHEMA_VERSION, SECTIONS, gather, known_facts

WRITTEN = ("trial", "observation")
GATHERED = [section for section in SECTIONS if section not in WRITTEN]
GUIDE = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.mark.combination
@pytest.mark.parametrize("section", GATHERED)
def test_a_report_has_every_known_fact_and_no_other(section: str) -> None:
    told = gather([section], target=str(GUIDE)).sections[section]
    known = known_facts(section)
    assert sorted(fact.name for fact in told) == sorted(fact.name for fact in known)


@pytest.mark.combination
def test_every_fact_is_told_with_the_kind_and_unit_it_is_declared_with() -> None:
    for key, fact in gather(target=str(GUIDE)).facts().items():
        assert (fact.kind, fact.unit) == (KNOWN[key].kind, KNOWN[key].unit), key


@pytest.mark.combination
def test_no_fact_lacks_a_reason_and_only_yes_is_ok() -> None:
    for key, fact in gather(target=str(GUIDE)).facts().items():
        assert (fact.reason == "ok") == (fact.state == "yes"), key
        assert (fact.value is None) == (fact.state == "unknown"), key
        if fact.kind == "capability":
            assert fact.value == {"yes": True, "no": False, "unknown": None}[fact.state], key


@pytest.mark.combination
def test_the_installed_build_json_is_the_build_section() -> None:
    saved = json.loads(files("fuaio.probe").joinpath("build.json").read_bytes())
    report = gather(["build"])
    assert saved["schema_version"] == report.schema_version == SCHEMA_VERSION
    assert saved["fuaio_version"] == report.fuaio_version
    told = [
        {field: getattr(fact, field) for field in fact.__struct_fields__}
        for fact in report.sections["build"]
    ]
    assert saved["sections"] == {"build": told}


def test_names_outside_the_build_section_need_no_section_in_a_requirement() -> None:
    names = [name for section, name in KNOWN if section != "build"]
    shared = {name for name in names if ("build", name) in KNOWN}
    assert len(names) == len(set(names))
    assert shared == {"libaio_version", "liburing_version"}


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(KeyError, match="disk"):
        gather(["build", "disk"])


def test_without_a_target_there_is_no_section_of_it() -> None:
    assert list(gather(["build", "target"]).sections) == ["build"]


def test_the_guide_has_the_table_of_facts() -> None:
    text = GUIDE.read_text()
    for known in KNOWN.values():
        row = f"| `{known.name}` | {known.kind} | {known.unit} | {known.meaning} |"
        assert row in text.partition(f"### {known.section}\n")[2], row
