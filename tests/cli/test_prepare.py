"""fuaio prepare: the file it makes, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command import Fuaio


@pytest.mark.parametrize(
    ("size", "size_bytes"), [("4096", 4096), ("8K", 8192), ("1M", 1 << 20), ("1mib", 1 << 20)]
)
def test_it_makes_a_file_of_that_size(
    fuaio: Fuaio, scratch: Path, size: str, size_bytes: int
) -> None:
    path = scratch / "file"
    done = fuaio("prepare", str(path), "--size", size)
    assert (done.returncode, done.stdout) == (0, b"")
    assert path.read_bytes() == bytes(size_bytes)


@pytest.mark.parametrize("size", ["", "0", "4095", "5000", "-4096", "64Q", "1.5M", "9" * 30])
def test_a_size_that_is_none_is_a_usage_error(fuaio: Fuaio, scratch: Path, size: str) -> None:
    done = fuaio("prepare", str(scratch / "file"), f"--size={size}")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert list(scratch.iterdir()) == []


def test_a_file_that_exists_is_left_alone(fuaio: Fuaio, scratch: Path) -> None:
    path = scratch / "file"
    path.write_bytes(b"dear")
    done = fuaio("prepare", str(path), "--size", "4096")
    assert done.returncode == 2
    assert b"there is one already" in done.stderr
    assert path.read_bytes() == b"dear"


def test_a_folder_that_is_not_there_is_said(fuaio: Fuaio, scratch: Path) -> None:
    done = fuaio("prepare", str(scratch / "no" / "file"), "--size", "4096")
    assert done.returncode == 2
    assert b"No such file or directory" in done.stderr


def test_what_cannot_fit_is_refused_before_anything_is_written(fuaio: Fuaio, scratch: Path) -> None:
    done = fuaio("prepare", str(scratch / "file"), "--size", "100T")
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert list(scratch.iterdir()) == []


PREPARES = """
import os, signal, sys
from fuaio.aio import _prepare
from fuaio.cli import _entry
_prepare.sync_with_folder = lambda fd, path: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(_entry.main())
"""


def test_one_who_is_ended_leaves_no_file_that_looks_whole(scratch: Path) -> None:
    words = [sys.executable, "-c", PREPARES, "prepare", str(scratch / "file"), "--size", "1M"]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == 130
    assert list(scratch.iterdir()) == []
