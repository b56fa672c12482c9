"""What the README tells a newcomer to type works as it stands there, and in that order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
# 1 and 3: this machine lacks what the example asks for, which is an answer too; 2 of a scan: it has
# not got that place; of a bench: nothing that draws.
ANSWERS = {
    "bench": {0, 2},
    "check": {0, 1, 3},
    "diff": {0},
    "prepare": {0},
    "report": {0},
    "scan": {0, 2},
    "trial": {0},
}


# Whether it runs is the question here, not what it finds.
BRIEFLY = {
    "bench": " --engine threads --way fua --rounds 1 --seconds 0.01 --size 1M",
    "trial": " --seconds 0.01",
}


def blocks(language: str) -> list[str]:
    """Give the README's blocks of code in *language*."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[str]:
    """Give the README's commands that call *program*, in their order."""
    lines = "".join(blocks("console")).splitlines()
    return [line[2:] for line in lines if line.startswith(f"$ {program}")]


def test_the_commands_of_the_readme_answer_as_it_says(scratch: Path) -> None:
    beside_python = Path(sys.executable).parent
    found = commands("fuaio ")
    assert {command.split()[1] for command in found} == set(ANSWERS)
    for command in found:
        done = subprocess.run(
            ["sh", "-c", command.partition("#")[0] + BRIEFLY.get(command.split()[1], "")],
            cwd=scratch,
            env={**os.environ, "PATH": f"{beside_python}:{os.environ.get('PATH', os.defpath)}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in ANSWERS[command.split()[1]], (command, done.stderr)


def test_the_example_of_the_readme_writes_what_it_says(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = blocks("python")
    monkeypatch.chdir(scratch)
    exec(compile(example, "README.md", "exec"), {})
    written = (scratch / "journal").read_bytes()
    assert (written[:5], written[4096:4102]) == (b"hello", b"commit")
    assert written[8192:] == bytes(64 * 4096)


def test_the_scripts_of_the_readme_are_there_and_can_be_run() -> None:
    found = {command.split()[0] for command in commands("ci/")}
    assert found == {"ci/try", "ci/test"}
    for name in found:
        assert os.access(Path(__file__).parents[2] / name, os.X_OK)


def test_the_files_that_the_readme_links_to_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (Path(__file__).parents[2] / target).exists(), target
