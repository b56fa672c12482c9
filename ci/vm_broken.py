"""A wheel in which a rule of durable writes is broken, to see that a check can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

from vm_machine import CACHE, ROOT, VmError

# Of ci/mutations.toml: no flag reaches the kernel, and nobody waits for a flush.
BROKEN = (
    "linux_aio drops the flags",
    "io_uring drops the flags",
    "io_uring drops the flags of registered memory",
    "threads drop the flags",
    "a write is acknowledged before its flush",
    "a group is told durable without a flush",
)
# On a raw device the threads engine sends no flag.
CELLS = (
    *("io_uring/raw/fua", "linux_aio/raw/fua", "threads/xfs/fua"),
    *(f"{engine}/raw/write_then_flush" for engine in ("io_uring", "linux_aio", "threads")),
    *(f"{engine}/raw/group_flush" for engine in ("io_uring", "linux_aio", "threads")),
)


def broken_wheel(names: Sequence[str]) -> Path:
    """Build the wheel from a copy of the source with these mutations, and return it."""
    table = tomllib.loads((ROOT / "ci" / "mutations.toml").read_text(encoding="utf-8"))
    known = {mutation["name"]: mutation for mutation in table["mutation"]}
    for name in names:
        if name not in known:
            raise VmError(f"ci/mutations.toml has no {name!r}")
    source, wheels = CACHE / "broken", CACHE / "broken-wheels"
    kept = source / "build"  # what its tools were installed into
    for entry in source.iterdir() if source.is_dir() else ():
        if entry != kept:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns("build", ".git"), dirs_exist_ok=True
    )
    for name in names:
        _apply(source / known[name]["file"], known[name]["old"], known[name]["new"])
    command = ["bash", str(source / "ci" / "wheels"), "build"]
    env = {**os.environ, "FUAIO_WHEELS": str(wheels)}
    if subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False).returncode:
        raise VmError("the broken wheel was not built", 1)
    return next((wheels / "dist").glob("*.whl"))


def _apply(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise VmError(f"{file.name} has not once what is to be broken: {old!r}", 1)
    file.write_text(text.replace(old, new), encoding="utf-8")
