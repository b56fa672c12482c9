"""Faults between fuaio.aio and the kernel: tests/faults, compiled here and loaded."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from cffi import FFI

FAULTS = Path(__file__).parents[1] / "faults"
SOURCES = [FAULTS / "clock.c", FAULTS / "faults.c", FAULTS / "rings.c"]
AIO = Path(__file__).parents[2] / "aio"

READ, WRITE, FLUSH, SUBMIT, SETUP = range(5)
ANSWER, SHORT, HOLD, FAIL, TAKE, LIE, SLOW = range(7)
PATIENCE_MS = 20_000


class Seen:
    """One request as the kernel got it."""

    def __init__(self, record: Any) -> None:  # noqa: ANN401  # cffi has no types
        self.kind = int(record.kind)
        self.flags = int(record.flags)
        self.opcode = int(record.opcode)
        self.iovcnt = int(record.iovcnt)
        self.offset = int(record.offset)
        self.length = int(record.length)

    def __repr__(self) -> str:
        name = ("read", "write", "flush")[self.kind]
        return f"{name}(flags={self.flags}, {self.length} at {self.offset})"


class Faults:
    """Rules for what the kernel answers, and a record of what it was asked."""

    def __init__(self, library: Path) -> None:
        self._ffi = FFI()
        self._ffi.cdef((FAULTS / "faults.h").read_text())
        self._lib = self._ffi.dlopen(str(library))

    def install(self) -> None:
        """Put the faults between, without rules, after what is asked once in a process."""
        from fuaio.aio import available
        from fuaio.aio._core import lib

        available()
        self._lib.faults_install(lib.fuaio_syscalls_table())

    def remove(self) -> None:
        """Release everything and give the table back."""
        self._lib.faults_remove()

    def rule(self, kind: int, action: int, value: int = 0, *, nth: int = 1, times: int = 1) -> None:
        """From the nth request of *kind* on, *times* of them (-1: all) get *action*."""
        self._lib.faults_rule(kind, nth, times, action, value)

    def forget_rules(self) -> None:
        """No rule any more."""
        self._lib.faults_forget_rules()

    def restart(self) -> None:
        """No rule, nothing seen, counted from 1 again; files stay open."""
        self._lib.faults_restart()

    def release(self) -> None:
        """Give back the completions that are held."""
        self._lib.faults_release()

    def clock(self, *, write_ns: int, fua_ns: int, flush_ns: int) -> None:
        """Let time be what a write, one with the flag and a flush are said to take, and no more."""
        self._lib.faults_clock(write_ns, fua_ns, flush_ns)

    def wait_held(self, count: int = 1) -> None:
        """Wait until *count* completions are held."""
        assert self._lib.faults_wait_held(count, PATIENCE_MS), f"{count} completions were not held"

    def are_held(self, count: int = 1) -> bool:
        """Whether *count* completions are held by now."""
        return bool(self._lib.faults_wait_held(count, 0))

    def asked(self, kind: int) -> int:
        """How many calls of *kind* there were, of all kinds: submissions too."""
        return int(self._lib.faults_asked(kind))

    def wait_seen(self, kind: int, count: int = 1) -> None:
        """Wait until the kernel got *count* requests of *kind*."""
        assert self._lib.faults_wait_seen(kind, count, PATIENCE_MS), f"{count} were not seen"

    def seen(self, kind: int | None = None) -> list[Seen]:
        """What the kernel got so far, of one kind or all."""
        record = self._ffi.new("struct faults_seen *")
        found: list[Seen] = []
        while self._lib.faults_seen_at(len(found), record):
            found.append(Seen(record))
        return [request for request in found if kind is None or request.kind == kind]


def compile_faults(folder: Path) -> Path:
    """Make the shared object in *folder*; FileNotFoundError where there is no compiler."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    path = folder / "faults.so"
    flags = ["-shared", "-fPIC", "-g", "-O1", "-D_GNU_SOURCE", f"-I{AIO}", "-pthread"]
    subprocess.run([*compiler, *flags, "-o", str(path), *map(str, SOURCES)], check=True)
    return path
