"""The command as others run it: a process of its own, its exit code and its two outputs."""

from __future__ import annotations

import subprocess
import sys
from typing import Protocol

# Not the script, which lies where no PATH of a packager's builder leads.
COMMAND = (
    sys.executable,
    "-c",
    "import sys; from fuaio.cli._entry import main; sys.exit(main())",
)


class Fuaio(Protocol):
    """Run the command with arguments, and see how it ends."""

    def __call__(
        self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Return the finished process."""


def run_fuaio(
    *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, check=False, env=env
    )
