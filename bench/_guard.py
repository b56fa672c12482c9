"""What is put outside of this process is taken away again, also if the process is killed."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["afterwards"]


@contextmanager
def afterwards(script: str, *words: str | Path, pass_fds: Sequence[int] = ()) -> Iterator[None]:
    """Run the shell *script* with *words* behind the block, however that ends.

    The shell is started before, and waits until the pipe from this process is closed, which the
    kernel does if nobody else can. So what it takes away is best made inside of the block. Who
    kills all processes of a container or a control group kills it too.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", f"cat; {script}", "sh", *words],
        stdin=subprocess.PIPE,
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl-C ends who measures, not this
    ):
        yield
