"""What a test changes outside of its process is put back, also if the test is killed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from machine_lock import machine_lock
from needs import missing, need_root


@contextmanager
def afterwards(script: str, *arguments: str | Path) -> Iterator[None]:
    """Run the shell *script* after the block, however that ends.

    The shell is started before, and waits until the pipe from this process is closed, which the
    kernel does if nobody else can. The machine's lock, if this test holds it, lasts until then.
    """
    with subprocess.Popen(
        ["sh", "-euc", f"cat; {script}", "sh", *arguments],
        stdin=subprocess.PIPE,
        pass_fds=machine_lock.descriptors(),
        start_new_session=True,  # Ctrl-C and a time limit end the tests, not this
    ) as guard:
        try:
            yield
        finally:
            assert guard.stdin is not None
            guard.stdin.close()
            status = guard.wait()
    assert status == 0, f"could not be put back: {script} {arguments}"


@contextmanager
def changed_sysctl(name: str, value: int) -> Iterator[None]:
    """Give the sysctl *name* (a path below /proc/sys) this *value* for the length of the block.

    It holds for the whole machine: tests take the fixture `sysctl`, for which they run alone.
    """
    assert machine_lock.is_exclusive, "a sysctl is every test's: take the fixture sysctl"
    need_root()
    path = Path("/proc/sys", name)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("r+", buffering=1))
        except OSError as error:
            missing(f"{path} cannot be set here: {error.strerror}", required=False)
        before = file.read().strip()
        stack.enter_context(afterwards('printf %s "$1" >"$2"', before, path))
        try:
            os.pwrite(file.fileno(), str(value).encode(), 0)
        except OSError as error:
            missing(f"{path} cannot be set here: {error.strerror}", required=False)
        yield
    assert path.read_text().strip() == before
