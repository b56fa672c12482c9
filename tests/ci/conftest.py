"""The scripts in ci/ import each other by name, and tests of them do as well."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "ci"))
