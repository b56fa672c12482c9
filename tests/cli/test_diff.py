"""fuaio diff: exit codes and lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Fuaio


def changed(saved: Path, name: str, **changes: object) -> Path:
    """Return a copy of the report *saved* in which one build fact has *changes*."""
    whole = json.loads(saved.read_text())
    for fact in whole["sections"]["build"]:
        if fact["name"] == name:
            fact.update(changes)
    path = saved.with_name("changed.json")
    path.write_text(json.dumps(whole))
    return path


def test_a_report_does_not_differ_from_itself(fuaio: Fuaio, saved: Path) -> None:
    done = fuaio("diff", str(saved), str(saved))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("state", "reason"), [("no", "symbol-missing"), ("unknown", "header-unusable")]
)
def test_a_lost_capability_is_1_and_its_return_is_0(
    fuaio: Fuaio, saved: Path, state: str, reason: str
) -> None:
    lesser = changed(saved, "pwritev2", state=state, reason=reason)
    lost, gained = fuaio("diff", str(saved), str(lesser)), fuaio("diff", str(lesser), str(saved))
    assert lost.returncode == 1
    assert lost.stdout == f"lost      build.pwritev2: yes (ok) -> {state} ({reason})\n".encode()
    assert gained.returncode == 0
    assert gained.stdout == f"gained    build.pwritev2: {state} ({reason}) -> yes (ok)\n".encode()


def test_another_version_is_a_change_and_0(fuaio: Fuaio, saved: Path) -> None:
    done = fuaio("diff", str(saved), str(changed(saved, "compiler", value="cc 1")))
    assert done.returncode == 0
    assert done.stdout.startswith(b"changed   build.compiler: ")
    assert done.stdout.endswith(b' -> "cc 1"\n')


def test_one_report_may_come_from_the_standard_input(fuaio: Fuaio, saved: Path) -> None:
    assert fuaio("diff", "-", str(saved), stdin=saved.read_bytes()).returncode == 0


def test_a_section_that_a_report_lacks_is_2(fuaio: Fuaio, saved: Path) -> None:
    done = fuaio("diff", "--section", "kernel", str(saved), str(saved))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"fuaio: sections: the first report has no section kernel\n"
