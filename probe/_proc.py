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
    """Read the file *path* below *root*, without its last newline; a failure is an answer."""
    try:
        # As file names are, in which every byte but NUL and the slash may be.
        with under(root, path).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return Reading(None, "not-there", "this kernel does not have it, or /proc is hidden")
    except OSError as error:
        return Reading(None, "not-readable", str(error.strerror))
    return Reading(text.removesuffix("\n"), "ok", "")
