"""Pytest finds every test, and what tests are marked with means something."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.builds

TESTS = Path(__file__).parents[1]


def test_every_file_with_tests_is_collected_when_no_name_is_given() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stdout + listed.stderr
    collected = {line.partition(": ")[0] for line in listed.stdout.splitlines()}
    files = {str(path.relative_to(TESTS.parent)) for path in TESTS.rglob("test_*.py")}
    assert files
    assert files - collected == set()


def test_every_marker_that_is_declared_marks_tests() -> None:
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    declared = project["tool"]["pytest"]["ini_options"]["markers"]
    texts = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    names = [line.partition(":")[0] for line in declared]
    assert names
    assert [name for name in names if f"mark.{name}" not in texts] == []
