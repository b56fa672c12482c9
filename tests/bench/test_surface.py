"""What the room shows, and what others import it without."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fuaio.bench


def modules_after(statement: str) -> set[str]:
    """The modules that a new interpreter has loaded after *statement*."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


CHECK = """
import io
from fuaio.cli._main import run
sys.stdout = io.StringIO()
run(["check", "laio_has_fua"])
sys.stdout = sys.__stdout__
"""


@pytest.mark.parametrize("statement", ["import fuaio.aio", CHECK], ids=["aio", "check"])
def test_what_does_not_measure_loads_nothing_that_measures(statement: str) -> None:
    loaded = modules_after(statement)
    assert "fuaio" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"matplotlib", "numpy", "rich"}
    assert not {name for name in loaded if name.startswith("fuaio.bench")}


def test_the_room_loads_what_draws_only_to_draw() -> None:
    loaded = modules_after("import fuaio.bench")
    assert "fuaio.bench._plot" in loaded
    assert not loaded & {"matplotlib", "numpy", "click"}


def test_what_is_public_is_what_is_meant() -> None:
    public = {name for name in vars(fuaio.bench) if not name.startswith("_")}
    assert public == set(fuaio.bench.__all__)


def test_every_public_function_and_class_says_what_it_is_for() -> None:
    for name in fuaio.bench.__all__:
        thing = getattr(fuaio.bench, name)
        if callable(thing) and getattr(thing, "__module__", "").startswith("fuaio."):
            assert thing.__doc__, name


def test_the_rows_are_those_of_qemus_table_and_depths_to_128() -> None:
    assert list(fuaio.bench.QEMU) == [(1, 1), (1, 16), (16, 1)]
    assert [depth for depth, _ in fuaio.bench.DEPTHS] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert {jobs for _, jobs in fuaio.bench.DEPTHS} == {1}
