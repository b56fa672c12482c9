"""The example of another Meson project that takes the build probe as a subproject."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from header_prefixes import Prefixes
from meson_runs import SOURCE, run, succeed, tool

EXAMPLE = Path(__file__).parent / "example"
GUIDE = SOURCE / "docs" / "meson.md"
OF_THE_PROBE = ("probe/symbols", "meson.build", "meson_options.txt", "LICENSE")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example with the files of fuaio that it needs, and no others."""
    project = tmp_path / "example"
    shutil.copytree(EXAMPLE, project)
    for name in OF_THE_PROBE:
        target = project / "subprojects/fuaio" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (SOURCE / name).is_dir() else shutil.copy
        copy(SOURCE / name, target)
    return project


@pytest.mark.parametrize(("kind", "requests"), [("genuine", 1), ("ablated", 2)])
def test_the_example_writes_with_what_its_headers_have(
    example: Path, prefixes: Prefixes, kind: str, requests: int
) -> None:
    prefixes.libaio(kind)
    said = succeed(tool("meson"), "setup", "build", cwd=example, env=prefixes.env())
    has_fua = "yes" if requests == 1 else r"no \(symbol-missing, came with 0.3.111\)"
    assert re.search(rf"(?m)^ +laio_has_fua +: {has_fua}$", said), said
    assert re.search(r"(?m)^ +liburing +: no \(disabled\)$", said), said
    succeed(tool("ninja"), "-C", "build", cwd=example, env=prefixes.env())
    scratch = example / "scratch"
    path = {"LD_LIBRARY_PATH": f"{prefixes.folder}/libaio/lib"}
    assert succeed(example / "build/durable", scratch, env=path) == f"{requests} request\n"
    assert scratch.read_bytes() == b"x" * 4096


def test_the_example_is_configured_without_the_library(example: Path) -> None:
    said = succeed(tool("meson"), "setup", "build", "-Dfuaio:libaio=disabled", cwd=example)
    assert re.search(r"(?m)^ +laio_has_fua +: no \(disabled\)$", said), said
    assert "#define HAVE_IO_PREP_PWRITEV2 0" in (example / "build/config.h").read_text()
    succeed(tool("ninja"), "-C", "build", cwd=example)
    assert not (example / "build/durable").exists()


def test_the_example_can_insist_on_fua(example: Path, prefixes: Prefixes) -> None:
    prefixes.libaio("ablated")
    insist = "-Dfuaio:require_fua=libaio"
    refused = run(tool("meson"), "setup", "build", insist, cwd=example, env=prefixes.env())
    assert refused.returncode != 0
    assert "no FUA through libaio (symbol-missing)" in refused.stdout


def test_the_guide_shows_the_block_of_the_example() -> None:
    block = (EXAMPLE / "meson.build").read_text().partition("\n\n")[2]
    assert f"```meson\n{block}```" in GUIDE.read_text()
