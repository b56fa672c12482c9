"""What a process sees to which the kernel or a policy refuses something; the parent's part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
from needs import missing, root_is_required

from fuaio.probe import Fact, decode_report

CHILD = Path(__file__).parent / "real_refused_child.py"
CANNOT = 77


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """An `EngineUnavailableError` as the child got it."""

    cause: str
    errno: int
    message: str


class Written(msgspec.Struct, frozen=True, array_like=True):
    """A durable write with engine="auto"."""

    engine: str
    can_fua: str


class Seen(msgspec.Struct, frozen=True):
    """All that the child saw."""

    works: tuple[str, ...]
    why_not: dict[str, str]
    refused: dict[str, Refused]
    direct: Written
    buffered: Written
    report: str
    held: int

    def fact(self, section: str, name: str) -> Fact:
        """Give a fact of the child's report."""
        return decode_report(self.report.encode()).facts()[section, name]


def run_child(*arguments: str | Path) -> bytes:
    """Run the child; give what it printed; go on only if it could take its steps."""
    done = subprocess.run(
        [sys.executable, CHILD, *arguments], capture_output=True, check=False, cwd="/"
    )
    if done.returncode == CANNOT:
        missing(done.stderr.decode().strip(), required=root_is_required())
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def seen_after(path: Path, *steps: str, depth: int = 32) -> Seen:
    """Let a child take *steps* (real_refused_child.py names them) and write *path* durably."""
    return msgspec.json.decode(run_child(path, str(depth), *steps), type=Seen)
