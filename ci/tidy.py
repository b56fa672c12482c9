"""Check every tracked file for what must not be in this repository, and for size.

Usage: tidy.py ROOT. Prints each finding as FILE:LINE: WORDS; exits 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_FUNCTION = 60
LONGEST_FILE = 600

# In brackets, so that this file does not find itself.
FORBIDDEN = {
    re.compile(r"(?:^|[^A-Za-z0-9_.])/(?:wor[k]|far[m]|roo[t])/[.a-z]"): "path of a machine",
    re.compile(r"://(?:[a-z]+[.])?(?:deb|security|pypi|files|registry)[.]"): "host of a registry",
    re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b"): "work left undone",
    re.compile(r"^(?:<{7}|>{7}) "): "mark of a merge",
    re.compile(r"[ \t]+$"): "space at the end of a line",
}
# Each is asked for with a reason: on its own line or on the line above.
EXPLAINED = re.compile(r"#\s*(?:type:\s*ignore|noqa|shellcheck disable)|except Exception")
NO_SPACE_RULE = (".md", ".patch")


def tracked(root: Path) -> list[Path]:
    """Give the files that git tracks, or all but the build's where there is no git."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    return [root / name for name in listed.stdout.split("\0") if name]


def findings_in_lines(path: Path, lines: list[str]) -> Iterator[tuple[int, str]]:
    """Give what is wrong with single lines."""
    for number, line in enumerate(lines, start=1):
        for pattern, words in FORBIDDEN.items():
            if words.startswith("space") and path.suffix in NO_SPACE_RULE:
                continue
            if pattern.search(line):
                yield number, f"{words}: {line.strip()[:80]}"
        if path.suffix != ".md" and EXPLAINED.search(line) and path.name != "tidy.py":
            above = lines[number - 2] if number > 1 else ""
            comment = re.sub(r"#\s*(?:type: ignore|noqa)[^#(]*", "", line)
            if "#" not in above and "#" not in comment and "(" not in line.partition("#")[2]:
                yield number, f"no reason beside: {line.strip()[:80]}"


def long_functions(text: str) -> Iterator[tuple[int, str]]:
    """Give Python functions that do not fit in one look."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines"


def long_c_functions(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Give C functions that do not fit in one look: a brace alone in column 0 to its partner."""
    start = 0
    for number, line in enumerate(lines, start=1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start + 1 > LONGEST_FUNCTION:
                yield start, f"a function of {number - start + 1} lines"
            start = 0


def findings(path: Path) -> Iterator[tuple[int, str]]:
    """Give what is wrong with one file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    lines = text.splitlines()
    yield from findings_in_lines(path, lines)
    if path.suffix in (".py", ".c", ".h") and len(lines) > LONGEST_FILE:
        yield 1, f"{len(lines)} lines"
    if path.suffix == ".py":
        yield from long_functions(text)
    if path.suffix in (".c", ".h"):
        yield from long_c_functions(lines)


def main(root: str) -> int:
    """Print all findings."""
    count = 0
    for path in tracked(Path(root)):
        if not path.is_file():
            continue
        for line, words in findings(path):
            print(f"{path.relative_to(root)}:{line}: {words}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
