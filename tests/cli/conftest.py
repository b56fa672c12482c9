"""The command as others run it: a process of its own, its exit code and its two outputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from fuaio.probe import encode_report, gather

COMMAND = (
    sys.executable,
    "-c",
    "import sys; from fuaio.cli._entry import main; sys.exit(main())",
)


class Fuaio(Protocol):
    """Run the command with arguments, and see how it ends."""

    def __call__(
        self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]: ...


@pytest.fixture
def command() -> tuple[str, ...]:
    """The command as a tuple for subprocess."""
    return COMMAND


@pytest.fixture
def fuaio() -> Fuaio:
    """Call it with arguments for a finished process."""

    def run(
        *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*COMMAND, *arguments], input=stdin, capture_output=True, check=False, env=env
        )

    return run


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A report of the build, saved as JSON."""
    path = tmp_path / "saved.json"
    path.write_bytes(encode_report(gather(["build"])))
    return path
