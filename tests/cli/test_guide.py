"""The guide and the man page say what the command does."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from importlib.metadata import files
from pathlib import Path

import click
import pytest

from fuaio.cli._main import COMMANDS, _cli
from fuaio.probe import FORMATS, SECTIONS, gather

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "report.md").read_text()
MAN_PAGE = (ROOT / "docs" / "fuaio.1").read_text()
REPORT = ROOT / "tests" / "probe" / "reports" / "1.0" / "bookworm.json"


def examples() -> list[tuple[str, str]]:
    """Return the commands of the guide's console blocks, each with its output."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command = re.match(r".*\n(?:> .*\n)*", part)
            assert command is not None
            found.append((command[0].replace("\n> ", "\n"), part[command.end() :]))
    return found


def test_the_examples_of_the_guide_give_what_the_guide_shows(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    script = tmp_path / "bin" / "fuaio"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    shutil.copy(REPORT, tmp_path)
    assert len(examples()) > 8
    for text, output in examples():
        done = subprocess.run(
            ["sh", "-c", f'PATH="{script.parent}:$PATH"\n{text}'],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (text, done.stdout)
        if output:
            assert done.stdout == output, text


def test_every_reason_seen_here_is_explained_in_the_guide() -> None:
    table = GUIDE.partition("## Reasons\n")[2].partition("\n## ")[0]
    for fact in gather().facts().values():
        assert f"`{fact.reason}`" in table, fact


@pytest.mark.parametrize("name", COMMANDS)
def test_the_man_page_names_every_command_and_option(name: str) -> None:
    page = MAN_PAGE.replace("\\-", "-")
    command = _cli.get_command(click.Context(_cli), name)
    assert command is not None
    assert f"fuaio {name}" in page
    for parameter in command.params:
        for text in parameter.opts:
            if text.startswith("--"):
                assert text in page


@pytest.mark.parametrize("text", [GUIDE, MAN_PAGE], ids=["guide", "man page"])
def test_every_exit_code_format_and_section_is_documented(text: str) -> None:
    for code in (0, 1, 2, 3, 77, 70, 130, 141):
        assert re.search(rf"^(\.B|\|) {code}\b", text, re.MULTILINE), code
    for word in (*FORMATS, *SECTIONS):
        assert re.search(rf"\b{word}\b", text), word


def test_the_man_page_is_installed_where_man_looks() -> None:
    installed = [str(file) for file in files("fuaio") or []]
    if not any(name.endswith("fuaio/probe/report.schema.json") for name in installed):
        pytest.skip("an editable install lists no files")
    assert [name for name in installed if name.endswith("share/man/man1/fuaio.1")]


def test_the_man_page_formats_without_a_warning() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no command groff (Debian: groff)")
    done = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww", "-z"],
        input=MAN_PAGE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
