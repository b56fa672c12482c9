"""A lock that all test runs on this machine share: for what a test can only change for everybody.

A test that gives a sysctl another value holds it alone; every other test holds it together with
all others, in this run and in each other on the machine. So no test sees a refusal that another
one asked for. Tests that are marked `builds` hold nothing: they would keep everybody waiting, and
ask the kernel for nothing that can be refused. It is held by flock(2), which ends with the process,
however that ends.

A lock file of its own is the gate, which everybody takes first and a writer keeps while it waits:
readers that come later wait behind it, so that it has its turn. For a while only, and then again:
a test that hangs somewhere on the machine must not stop all others.

The files lie in one folder for all users and runs (`FUAIO_LOCKS` names another one; in a root file
system of its own the same folder has to be mounted). They are empty and only ever opened for
reading, by a name that is not followed where it is a link, so that nobody's file is changed. Where
they can be neither opened nor made there is no lock, and pytest's header says so.

Who holds it tells the programs it starts, with an empty `FUAIO_LOCKS`, to take none of their own: a
run of tests inside a test would wait at the gate for a writer that waits for that test.

As a program it holds the lock together with others while COMMAND runs: machine_lock.py COMMAND...
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "FUAIO_LOCKS"
# Not that of TMPDIR, which differs between runs.
FOLDERS = ("/run/lock", "/tmp")
GATE, LOCK = "fuaio-tests-gate.lock", "fuaio-tests.lock"

# How long a writer keeps the gate while it waits, and how long it then leaves it to others. Nearly
# all tests are shorter.
KEEP_GATE_S, LEAVE_GATE_S, LOOK_AGAIN_S = 20.0, 20.0, 0.02


def folder() -> Path | None:
    """Where the files lie; None where whoever started this process holds the lock."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return Path(next(name for name in FOLDERS if os.path.isdir(name)))
    return Path(named) if named else None


def _open(path: Path) -> int:
    """Open the lock file *path*, which is made where it is not there."""
    # Without O_CREAT first: in a folder that all may write to, the kernel refuses it on another
    # user's file (fs.protected_regular). O_NONBLOCK: a pipe of this name must not hold us up.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o444)
            os.fchmod(descriptor, 0o444)  # other users need to read it, whatever the umask
        except FileExistsError:  # another run was first
            return _open(path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a file")
    return descriptor


class MachineLock:
    """The lock as one process has it."""

    def __init__(self, where: Path | None) -> None:
        """Open the files in the folder *where*; `why_not` tells if there is no lock."""
        self.why_not = ""
        self.is_held = self.is_exclusive = False
        self._descriptors: list[int] = []
        if where is None:
            self.why_not = f"{VARIABLE} is empty"
            return
        try:
            for name in (GATE, LOCK):
                self._descriptors.append(_open(where / name))
        except OSError as error:
            self.why_not = str(error)
            self.close()

    def close(self) -> None:
        """Let go of the files; the lock holds nobody up any more."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def descriptors(self) -> tuple[int, ...]:
        """For a child that must keep the lock if this process is killed."""
        return tuple(self._descriptors)

    @contextmanager
    def held(self, *, exclusive: bool = False) -> Iterator[None]:
        """Hold it, alone if *exclusive*; waits for whoever stands in the way."""
        if self._descriptors:
            while not self._taken(exclusive=exclusive):
                time.sleep(LEAVE_GATE_S)  # so that who waits at the gate gets through
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = ""
        self.is_held, self.is_exclusive = True, exclusive
        try:
            yield
        finally:
            self.is_held = self.is_exclusive = False
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before
            if self._descriptors:
                # Not only closed: a child that was forked has the same open file.
                fcntl.flock(self._descriptors[1], fcntl.LOCK_UN)

    def _taken(self, *, exclusive: bool) -> bool:
        """Go through the gate and take the lock; False if that would hold up others for long."""
        gate, lock = self._descriptors
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            if not exclusive:
                fcntl.flock(lock, fcntl.LOCK_SH)
                return True
            limit = time.monotonic() + KEEP_GATE_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    if time.monotonic() >= limit:
                        return False
                time.sleep(LOOK_AGAIN_S)  # flock itself has no time limit
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)


machine_lock = MachineLock(folder())


def main(*command: str) -> None:
    """Become *command*, which holds the lock until it ends."""
    with machine_lock.held():
        for descriptor in machine_lock.descriptors()[1:]:
            os.set_inheritable(descriptor, True)
        os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
