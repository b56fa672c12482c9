"""What names the rooms one by one names those that there are."""

from __future__ import annotations

import tomllib
from pathlib import Path

import typing_view

ROOT = Path(__file__).parents[2]
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")}


def test_the_types_of_every_room_are_checked() -> None:
    assert set(typing_view.ROOMS) == ROOMS


def test_no_room_can_be_imported_by_the_name_of_its_folder() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    banned = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == ROOMS
    assert "aio" in ROOMS
