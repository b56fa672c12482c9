"""What a program asks of the kernel between two marks, seen from outside by strace."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from needs import missing, need_command, root_is_required

MARK = "getppid"
"""The program calls os.getppid() before and after what is looked at; nothing else here does."""

# Whatever hands over a request, waits for one, writes or flushes.
WATCHED = (
    *("io_submit", "io_getevents", "io_pgetevents", "io_uring_enter"),
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "msync"),
    *("fsync", "fdatasync", "sync", "syncfs", "sync_file_range"),
)
# Debian's libaio waits by the one for the other since trixie, and asks the same.
SAME = {"io_pgetevents": "io_getevents"}
CALL = re.compile(
    r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+).* <(?P<seconds>[\d.]+)>"
)


@dataclass(frozen=True, slots=True)
class Call:
    """One system call as strace shows it."""

    name: str
    arguments: str
    result: int
    seconds: float


def need_strace() -> str:
    """Give the path of strace; go on only if it can trace a child here."""
    strace = need_command("strace", "strace")
    tried = subprocess.run(
        [strace, "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        missing(f"strace cannot trace: {tried.stderr.strip()}", required=root_is_required())
    return strace


def calls_between_marks(folder: Path, program: str, *arguments: str | Path) -> list[Call]:
    """Run the Python text *program* and give its calls between the marks.

    Args:
        folder: Where the traces may lie, for as long as the test runs.
        program: Has one thread: a call of another would be out of sight, so it is refused.
        arguments: What the program finds in sys.argv[1:].
    """
    prefix = folder / "strace"
    watched = ",".join(f"?{name}" for name in (MARK, *WATCHED))  # ?: not every processor has all
    done = subprocess.run(
        [
            *(need_strace(), "-qq", "-ff", "-v", "-T", "-e", "signal=none"),
            *("-e", f"trace={watched}", "-o", prefix),
            *(sys.executable, "-c", program, *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (trace,) = folder.glob("strace.*")
    lines = trace.read_text().splitlines()
    trace.unlink()
    first, last = (number for number, line in enumerate(lines) if line.startswith(MARK))
    return list(_parse(lines[first + 1 : last]))


def _parse(lines: list[str]) -> Iterator[Call]:
    for line in lines:
        match = CALL.fullmatch(line)
        assert match is not None, f"strace wrote what is not understood: {line}"
        name = SAME.get(match["name"], match["name"])
        yield Call(name, match["arguments"], int(match["result"]), float(match["seconds"]))
