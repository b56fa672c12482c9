"""Every script that a person calls says what it does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / "ci"
SCRIPTS = ("debian-package", "peers", "recipes", "speed", "test", "try", "wheels")


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_is_asked_for_help_tells_its_usage_and_does_nothing(
    name: str, option: str
) -> None:
    done = subprocess.run([CI / name, option], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\nUsage: ci/{name}" in done.stdout
    assert "set -e" not in done.stdout
