"""The command, and a report for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import COMMAND, Fuaio, run_fuaio

from fuaio.probe import encode_report, gather


@pytest.fixture(autouse=True)
def _buffered_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output is buffered as users have it, also where the tests' own is not."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def command() -> tuple[str, ...]:
    """The command as a tuple for subprocess."""
    return COMMAND


@pytest.fixture
def fuaio() -> Fuaio:
    """Call it with arguments for a finished process."""
    return run_fuaio


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A report of the build, saved as JSON."""
    path = tmp_path / "saved.json"
    path.write_bytes(encode_report(gather(["build"])))
    return path
