"""Lay the rooms out as the package they are installed as, for mypy, and show that it looks.

Usage: typing_view.py FOLDER [--seeded]

The rooms aio/, probe/, bench/, cli/ are installed as fuaio.aio and so on, so a type
checker cannot follow their imports where they lie. FOLDER/fuaio gets a link to each source file.
With --seeded it gets copies instead, each with a type error at its end that only a checker which
knows fuaio's types can see: a run that does not report all of them has not checked.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

ROOMS = ("aio", "probe", "bench", "cli")
# The type of fuaio.aio.laio_has_fua is known to the room aio alone: bool, not str.
SEED = """
from fuaio.aio import laio_has_fua as _seeded_question
_seeded_answer: str = _seeded_question()
"""


def sources(root: Path) -> list[tuple[Path, str]]:
    """Give each typed source file and where it is installed."""
    found = [(root / "face.py.in", "fuaio/__init__.py")]
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py*")):
            if path.suffix in (".py", ".pyi"):
                found.append((path, f"fuaio/{path.relative_to(root)}"))
    return found


def main() -> None:
    """Make the view anew, and print the file names in which an error was seeded."""
    parser = argparse.ArgumentParser(description="Lay the rooms out as the package.")
    parser.add_argument("folder", type=Path, help="where the view goes, as a folder fuaio")
    parser.add_argument("--seeded", action="store_true", help="copies with a type error in each")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder / "fuaio", ignore_errors=True)
    for path, name in sources(Path(__file__).parents[1]):
        target = arguments.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if arguments.seeded:
            target.write_text(path.read_text(encoding="utf-8") + SEED, encoding="utf-8")
            print(target)
        else:
            target.symlink_to(path)


if __name__ == "__main__":
    main()
