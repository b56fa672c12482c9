"""Pictures of a run: made, valid, and of what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench_programs import sample_run
from command import run_fuaio
from needs import missing

from fuaio.bench import PlotError, plot

PNG = b"\x89PNG\r\n\x1a\n"


def need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401  # whether it is there
    except ImportError:
        missing("no matplotlib (the extra bench)", required=False)


def test_an_svg_names_contestants_depths_and_units(tmp_path: Path) -> None:
    need_matplotlib()
    path = tmp_path / "run.svg"
    plot(sample_run(), str(path))
    text = path.read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    for words in (
        "fuaio:io_uring:fua",
        "other",
        "writes per second (IOPS)",
        "time of a write (µs)",
    ):
        assert f"<!-- {words} -->" in text
    assert "broken" not in text


def test_a_png_is_one_and_is_large_enough_to_read(tmp_path: Path) -> None:
    need_matplotlib()
    path = tmp_path / "run.png"
    plot(sample_run(), str(path))
    content = path.read_bytes()
    assert content.startswith(PNG)
    assert int.from_bytes(content[16:20], "big") >= 1500


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlotError, match=r"\.svg or \.png"):
        plot(sample_run(), str(tmp_path / "run.bmp"))
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_command_names_what_installs_it_before_it_measures(
    scratch: Path,
) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; import fuaio.cli._bench as bench; "
        "bench.scratch_file = None; from fuaio.cli._entry import main; sys.exit(main())"
    )
    arguments = ["bench", str(scratch), "--plot", str(scratch / "run.svg")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'fuaio[bench]'" in done.stderr
    assert list(scratch.iterdir()) == []


def test_a_name_that_is_no_picture_is_refused_before_it_measures(scratch: Path) -> None:
    done = run_fuaio("bench", str(scratch), "--plot", str(scratch / "run.txt"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b".svg or .png" in done.stderr
