"""Whom else a run can measure: by name, those that ``--against`` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fuaio.bench._work import Contestant

__all__ = ["peers"]


def peers() -> Mapping[str, Contestant]:
    """Return every contestant that is not ours, by its name, whether it is installed or not."""
    return {}
