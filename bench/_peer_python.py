"""What else writes from Python: the standard library, and libraries from PyPI.

`_peer_job` has what each does; here stands what it takes.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from fuaio.bench._peer import Peer
from fuaio.bench._work import why_no_appends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuaio.bench._work import Work

__all__ = ["LIBRARIES", "Library"]

# By the name of the contestant, the module that it imports.
LIBRARIES = {
    "os-pwritev": "os",
    "os-o_dsync": "os",
    "os-fdatasync": "os",
    "asyncio-threads": "asyncio",
    "caio-uring": "caio",
    "caio-linux": "caio",
    "aiofile": "aiofile",
    "aiofiles": "aiofiles",
    "uring-api": "uring_api",
    "pyaio": "pyaio",
    "liburing": "liburing",
    "libaio": "libaio",
    "fuaio-asyncio-linux_aio": "fuaio",
    "fuaio-asyncio-io_uring": "fuaio",
    "fuaio-asyncio-batches-linux_aio": "fuaio",
    "fuaio-asyncio-batches-io_uring": "fuaio",
}


class Library(Peer):
    """A library in a Python program of its own, in this environment."""

    def why_not(self, work: Work) -> str:
        """Return why it cannot do *work* here, or nothing."""
        module = LIBRARIES[self.name]
        if find_spec(module) is None:
            return f"{module} is not installed here: pip install 'fuaio[peers]', or run ci/peers"
        if module == "os" and work.depth > 1:
            return "os.pwritev has one write in flight: asyncio-threads calls it in threads"
        return why_no_appends(work)

    def command(self, work: Work, job: int) -> Sequence[str]:
        """Return the program that does it."""
        return self._command("fuaio.bench._peer_job", work, job)
