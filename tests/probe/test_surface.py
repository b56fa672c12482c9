"""What the room shows, and what it stands on."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.resources import files

import fuaio.probe


def imports_of_aio(source: str) -> list[tuple[str, int]]:
    """Return the imports of fuaio.aio in *source*, each with its indentation."""
    return [
        (ast.unparse(node), node.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom) and "fuaio.aio" in ast.unparse(node)
    ]


def test_one_file_alone_imports_the_core_and_never_at_its_top_level() -> None:
    found = {
        entry.name: imports_of_aio(entry.read_text())
        for entry in files("fuaio.probe").iterdir()
        if entry.name.endswith(".py")
    }
    assert {name for name, imports in found.items() if imports} == {"_core.py"}
    assert min(column for _, column in found["_core.py"]) > 0


def test_importing_the_room_imports_neither_the_core_nor_packaging() -> None:
    code = "import sys, fuaio.probe; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "fuaio.probe" in modules
    assert not {"fuaio.aio", "packaging", "click"} & set(modules)


def test_what_is_public_is_what_is_meant() -> None:
    public = {name for name in vars(fuaio.probe) if not name.startswith("_")}
    assert public == set(fuaio.probe.__all__)


def test_every_public_function_and_class_says_what_it_is_for() -> None:
    for name in fuaio.probe.__all__:
        thing = getattr(fuaio.probe, name)
        if callable(thing) and getattr(thing, "__module__", "").startswith("fuaio."):
            assert thing.__doc__, name
