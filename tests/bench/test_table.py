"""The record as text and as JSON: nothing is lost, and nobody is left out."""

from __future__ import annotations

import msgspec
from bench_programs import sample_run

from fuaio.bench import Run, render


def test_a_run_comes_back_from_its_json() -> None:
    run = sample_run()
    encoded = msgspec.json.encode(run)
    assert msgspec.json.decode(encoded, type=Run) == run
    assert msgspec.json.decode(encoded)["schema_version"] == "1.0"


def test_a_reader_ignores_keys_that_came_later() -> None:
    keys = msgspec.json.decode(msgspec.json.encode(sample_run()))
    keys["new"] = keys["machine"]["new"] = 1
    assert msgspec.convert(keys, Run) == sample_run()


def test_each_depth_has_a_table_with_a_line_for_everyone() -> None:
    tables = [part for part in render(sample_run()).split("\n\n") if part.startswith("depth")]
    assert [table.partition("\n")[0] for table in tables] == [
        "depth 1, 1 job",
        "depth 16, 1 job",
    ]
    for table in tables:
        cells = {line.split()[0]: line.split() for line in table.splitlines()[2:]}
        assert cells["fuaio:io_uring:fua"][1:3] == ["4000", "(2000-6000)"] or "/" in table
        assert [line for line in table.splitlines() if line.startswith("broken  ")]
        assert "broken: it is not installed" in table.splitlines()


def test_ours_is_compared_with_each_of_the_others() -> None:
    lines = [" ".join(line.split()) for line in render(sample_run()).splitlines()]
    assert lines.count("fuaio:io_uring:fua / other 2.00 (2.00-2.00)") == 2
    assert lines.count("fuaio:io_uring:fua / broken -") == 2


def test_what_is_told_of_the_machine_cannot_move_the_cursor() -> None:
    run = sample_run()
    machine = msgspec.structs.replace(run.machine, device_model="\x1b[2J")
    assert "\x1b" not in render(msgspec.structs.replace(run, machine=machine))


def test_figures_are_in_the_units_of_their_head() -> None:
    table = render(sample_run()).split("\n\n")[1].splitlines()
    head, line = table[1], table[2]
    assert head.split("  ")[0] == "contestant"
    assert line.split() == [
        "fuaio:io_uring:fua",
        "4000",
        "(2000-6000)",
        "-",
        "200.0",
        "400.0",
        "100.00",
        "0.500",
    ]
