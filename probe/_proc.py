"""Small text files of /proc, under a root folder, so that recorded ones can be read too."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Reading(NamedTuple):
    """A file's text, or the reason and detail for having none."""

    text: str | None
    reason: str
    detail: str


def under(root: Path, path: str) -> Path:
    """Return the absolute *path* as it lies below *root*."""
    return root / path.lstrip("/")


def read_text(root: Path, path: str) -> Reading:
    """Read the file *path* below *root*; a failure is an answer."""
    try:
        text = under(root, path).read_text("utf-8", "surrogateescape")  # as file names are
    except FileNotFoundError:
        return Reading(None, "not-there", "this kernel does not have it, or /proc is hidden")
    except OSError as error:
        return Reading(None, "not-readable", str(error.strerror))
    return Reading(text.strip(), "ok", "")
