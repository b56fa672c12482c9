"""Whom else a run can measure: by name, those that ``--against`` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuaio.bench._peer_fio import Fio
from fuaio.bench._peer_python import LIBRARIES, Library
from fuaio.bench._peer_qemu import Qemu

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fuaio.bench._work import Contestant

__all__ = ["peers"]


def peers() -> Mapping[str, Contestant]:
    """Return every contestant that is not ours, by its name, whether it is installed or not."""
    all_of_them: list[Contestant] = [
        *(Fio(engine) for engine in ("psync", "libaio", "io_uring")),
        *(Qemu(major, engine) for major in (7, 10) for engine in ("native", "io_uring")),
        *(Library(name) for name in LIBRARIES),
    ]
    return {peer.name: peer for peer in all_of_them}
