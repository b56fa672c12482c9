"""Tracepoints of the kernel, in an instance of tracefs that is the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from block_devices import mounted
from needs import missing, need_root
from real_guard import afterwards


class Tracing:
    """One tracepoint, off; `recorded` turns it on."""

    def __init__(self, instance: Path, event: str) -> None:
        self._instance = instance
        self._event = event.replace("/", ":")
        self._switch = instance / "events" / event / "enable"
        self._lines: list[str] = []

    @contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """Fill the list, at the end of the block, with what the event printed, one line each."""
        lines: list[str] = []
        name = self._event.partition(":")[2]
        (self._instance / "trace").write_text("")  # truncating empties it
        self._switch.write_text("1")
        try:
            yield lines
        finally:
            self._switch.write_text("0")
        for line in (self._instance / "trace").read_text().splitlines():
            _, found, words = line.partition(f" {name}: ")
            if found:
                lines.append(words)


@contextmanager
def tracepoint(folder: Path, event: str, only: str) -> Iterator[Tracing]:
    """The *event* (a path below events), where the filter *only* is true.

    tracefs is mounted in *folder*, which others do not see used, and the instance removed.
    """
    need_root()
    if "\ttracefs\n" not in Path("/proc/filesystems").read_text():
        missing("this kernel has no tracefs", required=False)
    with ExitStack() as stack:
        root = stack.enter_context(mounted("tracefs", "tracefs", folder / "tracefs"))
        if not (root / "events" / event).exists():
            missing(f"this kernel has no tracepoint {event}", required=False)
        # Not the process's number, which another PID namespace has too.
        instance = root / "instances" / f"fuaio-{uuid4().hex}"
        instance.mkdir()
        stack.enter_context(afterwards('rmdir "$1"', instance))
        (instance / "events" / event / "filter").write_text(only)
        yield Tracing(instance, event)
