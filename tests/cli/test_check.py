"""fuaio check: exit codes, lines, speed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from command import Fuaio

from fuaio.probe import gather


def write(path: Path, **states: str) -> str:
    """Write a report whose build section has *states*; return its name."""
    facts = [
        {"name": name, "kind": "capability", "state": state, "reason": "ok"}
        for name, state in states.items()
    ]
    whole = {"schema_version": "1.0", "fuaio_version": "0.1.0", "sections": {"build": facts}}
    path.write_text(json.dumps(whole))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["met"], 0),
        (["met", "met"], 0),
        (["unmet"], 1),
        (["met", "unmet"], 1),
        (["undecided"], 3),
        (["met", "undecided"], 3),
        (["undecided", "unmet"], 1),
        (["met", "--skippable"], 0),
        (["undecided", "--skippable"], 77),
        (["unmet", "undecided", "--skippable"], 1),
        (["unmet", "nosuch"], 2),
        (["unmet", "liburing>=x"], 2),
        (["undecided", "engine:nosuch", "--skippable"], 2),
        (["met", "fua:/dev/x=native"], 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_usage_error_outweighs_unmet_which_outweighs_undecidable(
    fuaio: Fuaio, tmp_path: Path, arguments: list[str], code: int
) -> None:
    file = write(tmp_path / "r.json", met="yes", unmet="no", undecided="unknown")
    done = fuaio("check", *arguments, "--report", file)
    assert done.returncode == code
    assert done.stdout.count(b"\n") == (
        0 if code == 2 else len(arguments) - ("--skippable" in arguments)
    )


def test_each_requirement_gets_one_line_with_the_deciding_fact(
    fuaio: Fuaio, tmp_path: Path
) -> None:
    file = write(tmp_path / "r.json", met="yes", unmet="no")
    done = fuaio("check", "unmet", "met", "laio_has_fua", "--report", file)
    assert done.stdout.decode().splitlines() == [
        "unmet       unmet: build.unmet = no (ok)",
        "met         met: build.met = yes (ok)",
        "undecidable laio_has_fua: build.laio_has_fua = unknown (not-asked): not in this report",
    ]


def test_each_path_is_looked_up_for_itself(fuaio: Fuaio, tmp_path: Path) -> None:
    found = gather(["target"], target=str(tmp_path)).facts()["target", "overwrite"].value
    here = f"fua:{tmp_path}={found or 'unknown'}"
    done = fuaio("check", here, f"fua:{tmp_path}/nowhere=native", "fua:/dev/null=native")
    assert done.returncode == 3
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["met", "undecidable", "undecidable"]
    assert lines[1].endswith(f"unknown (not-there): {tmp_path}/nowhere: No such file or directory")


def test_a_saved_report_answers_for_the_path_it_is_about(fuaio: Fuaio, tmp_path: Path) -> None:
    report = fuaio("report", "--format", "json", str(tmp_path)).stdout
    asked = [f"fua:{tmp_path}=native,not_needed,emulated,none,unknown", "fua:/elsewhere=native"]
    done = fuaio("check", *asked, "--report", "-", stdin=report)
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["met", "undecidable"]
    assert "the report is not about /elsewhere" in lines[1]


@pytest.mark.combination
@pytest.mark.parametrize("name", ["laio_has_fua", "luring_has_fua", "pwritev2"])
def test_the_answer_about_this_build_follows_its_fact(fuaio: Fuaio, name: str) -> None:
    state = gather(["build"]).facts()["build", name].state
    assert fuaio("check", name).returncode == {"yes": 0, "no": 1, "unknown": 3}[state]


@pytest.mark.combination
def test_the_installed_build_json_alone_answers_as_the_package_does(fuaio: Fuaio) -> None:
    saved = files("fuaio.probe").joinpath("build.json").read_bytes()
    for name in ("laio_has_fua", "luring_has_fua", "liburing>=2.2", "libaio>=0.3.111"):
        live, asked = fuaio("check", name), fuaio("check", name, "--report", "-", stdin=saved)
        assert (asked.returncode, asked.stdout) == (live.returncode, live.stdout)


def test_a_fact_of_a_later_report_can_be_asked_for(fuaio: Fuaio, tmp_path: Path) -> None:
    file = write(tmp_path / "r.json", from_the_future="yes")
    assert fuaio("check", "from_the_future", "--report", file).returncode == 0
    assert fuaio("check", "from_the_future").returncode == 2


def test_escapes_in_a_report_reach_no_terminal(fuaio: Fuaio, tmp_path: Path) -> None:
    file = Path(write(tmp_path / "r.json", x="no"))
    whole = json.loads(file.read_text())
    whole["sections"]["build"][0]["detail"] = "\x1b[2J\nmet everything"
    file.write_text(json.dumps(whole))
    done = fuaio("check", "x", "--report", str(file))
    assert done.stdout == b"unmet       x: build.x = no (ok): \\x1b[2J\\nmet everything\n"


IMPORTED = """
import sys
from fuaio.cli._entry import main
code = main()
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("name", ["rich", "matplotlib", "packaging", "fuaio.aio", "fuaio.bench"])
def test_a_check_of_a_build_fact_imports_nothing_heavy(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "check", "pwritev2"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = done.stderr.split()
    assert "fuaio.probe._build" in imported
    assert name not in imported


def test_an_engine_is_asked_for_by_doing(fuaio: Fuaio) -> None:
    facts = gather(["kernel"]).facts()
    done = fuaio("check", "engine:threads")
    expected = 0 if facts["kernel", "threads"].state == "yes" else 1
    assert done.returncode == expected
    assert b"engine:threads: kernel.threads = " in done.stdout
