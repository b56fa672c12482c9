"""The command, and a report for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import COMMAND, Fuaio, run_fuaio
from meson_runs import tool
from scan_places import Maker, make_parts

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


@pytest.fixture(scope="session")
def made_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Headers and libraries in several states, for the places of a scan; needs Meson."""
    tool("meson")
    return make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def maker(made_parts: Path, tmp_path: Path) -> Maker:
    """Puts prefixes and sysroots together in this test's folder."""
    return Maker(made_parts, tmp_path)
