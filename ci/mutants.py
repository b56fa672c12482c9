"""Show that the tests notice when a durability rule is broken.

Usage: mutants.py BUILD [WORDS...]

Each entry of mutations.toml breaks one rule in a copy of the sources. The copy is built as for a
release, and of the tests that the entry names at least one must fail; all pass without it. WORDS
select the entries whose name contains one of them.

A test is what pytest is given, or core:NAME for a program of tests/core as Meson names it. An entry
with headers = "ablated" is built against headers without the writev2 helpers.
"""

from __future__ import annotations

import queue
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKERS = 2
# Seconds. A mutant may hang, which is noticed too; no test takes as long without it, also where
# other stages run at the same time.
ONE_TEST_LIMIT_S = 60
TEST_LIMIT_S = 600
PYTEST_FAILED = 1
MESON_FAILED = 1


class HarnessError(Exception):
    """The check itself could not be made; says nothing about the tests."""


@dataclass(frozen=True)
class Mutation:
    """One rule broken: in *file*, *old*, which is there once, becomes *new*."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    headers: str = "genuine"

    def applied_to(self, text: str) -> str:
        """Give *text* with the rule broken."""
        count = text.count(self.old)
        if count != 1:
            raise HarnessError(f"{self.file} has the old text {count} times, not once")
        return text.replace(self.old, self.new)


def load_mutations(path: Path) -> list[Mutation]:
    """Read the table."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]
    return [Mutation(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


class Copy:
    """A copy of the sources with a build folder and an installation of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Copy, configure and build in *folder*, which is made anew."""
        self.folder = folder
        self.environment = environment
        self.source = folder / "source"
        self.meson = folder / "meson"
        self.installed = folder / "installed"
        shutil.rmtree(folder, ignore_errors=True)
        ignored = shutil.ignore_patterns(".git", "build", ".*_cache", "__pycache__")
        shutil.copytree(ROOT, self.source, ignore=ignored)
        libraries = [f"-Dpython.{kind}libdir={self.installed}" for kind in ("pure", "plat")]
        self._do(
            *("meson", "setup", self.meson, self.source, f"--prefix={folder / 'prefix'}"),
            *("--buildtype=release", "-Db_ndebug=if-release", "-Dtests=true"),
            *("-Dpython.bytecompile=-1", *libraries),
        )
        self.build()

    def _do(self, *command: str | Path) -> None:
        """Run a step that must succeed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            told = (done.stdout + done.stderr)[-3000:]
            raise HarnessError(f"{' '.join(map(str, command))}:\n{told}")

    def build(self) -> None:
        """Build what has changed, and install all of it."""
        self._do("meson", "compile", "-C", self.meson)
        self._do("meson", "install", "-C", self.meson, "--no-rebuild", "--quiet")

    def failing(self, tests: tuple[str, ...]) -> str:
        """Give the first of the *tests* that fails and how, or an empty string."""
        core = [name.removeprefix("core:") for name in tests if name.startswith("core:")]
        python = [name for name in tests if not name.startswith("core:")]
        if core:
            command = ["meson", "test", "-C", str(self.meson), "--no-rebuild", *core]
            if failure := self._failure(command, MESON_FAILED):
                return failure
        if python:
            options = ["-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
            # Ends the process, which threads that hang would otherwise keep alive.
            limit = [f"--timeout={ONE_TEST_LIMIT_S}", "--timeout-method=thread"]
            command = [sys.executable, "-m", "pytest", *options, *limit, *python]
            return self._failure(command, PYTEST_FAILED)
        return ""

    def _failure(self, command: list[str], failed: int) -> str:
        """Run tests; give how they failed, or an empty string."""
        # No bytecode: it is told apart by seconds, and a mutant may live shorter than one.
        paths = {"PYTHONPATH": str(self.installed), "PYTHONDONTWRITEBYTECODE": "1"}
        environment = {**self.environment, **paths}
        try:
            done = subprocess.run(
                command,
                cwd=self.source,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TEST_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no end within {TEST_LIMIT_S} s"
        if done.returncode == 0:
            return ""
        if done.returncode < 0:
            return f"ended by signal {-done.returncode}"
        lines = done.stdout.splitlines()
        if command[0] == "meson":
            # Meson answers with the number of failed programs.
            return next((line.strip() for line in lines if "FAIL" in line), "a C test failed")
        if done.returncode != failed:
            raise HarnessError(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}")
        return next((line for line in lines if line.startswith("FAILED")), "a test did not end")


def noticed(copy: Copy, mutation: Mutation) -> str:
    """Break the rule in *copy*, test, and mend it; give how it was noticed, or an empty string."""
    path = copy.source / mutation.file
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutation.applied_to(before), encoding="utf-8")
        copy.build()
        return copy.failing(mutation.tests)
    finally:
        path.write_text(before, encoding="utf-8")


def environment_for(headers: str) -> dict[str, str]:
    """Give the variables under which a build finds these *headers*."""
    names = f"libaio-{headers} liburing-{headers}"
    script = f'variables=$("$0" env {names}) && eval "$variables" && env -0'
    printed = subprocess.run(
        ["bash", "-c", script, ROOT / "ci" / "prefixes"], capture_output=True, text=True, check=True
    )
    return dict(pair.split("=", 1) for pair in printed.stdout.split("\0") if pair)


def check(free: queue.SimpleQueue[Copy], mutation: Mutation) -> bool:
    """Print how a *mutation* fared in a copy that is *free*; True if it was noticed."""
    copy = free.get()
    began = time.monotonic()
    try:
        how = noticed(copy, mutation)
    except HarnessError as error:
        print(f"BROKEN    {mutation.name}: {error}", flush=True)
        return False
    finally:
        free.put(copy)
    word = "noticed" if how else "SURVIVED"
    spent = time.monotonic() - began
    print(f"{word:9} {spent:5.1f} s  {mutation.name}  [{how}]", flush=True)
    return bool(how)


def failing_unbroken(free: queue.SimpleQueue[Copy], tests: tuple[str, ...]) -> str:
    """Give the first of the *tests* that fails without a mutation and how, or an empty string."""
    copy = free.get()
    try:
        return copy.failing(tests)
    finally:
        free.put(copy)


def check_all(folder: Path, headers: str, mutations: list[Mutation]) -> int:
    """Check the *mutations* of builds against these *headers*; give how many were noticed."""
    environment = environment_for(headers)
    with ThreadPoolExecutor(WORKERS) as pool:
        names = range(min(WORKERS, len(mutations)))
        free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in pool.map(lambda name: Copy(folder / f"{headers}-{name}", environment), names):
            free.put(copy)
        tests = tuple(dict.fromkeys(test for entry in mutations for test in entry.tests))
        unbroken = pool.submit(failing_unbroken, free, tests)
        count = sum(pool.map(lambda entry: check(free, entry), mutations))
        if failure := unbroken.result():
            print(f"The tests fail without a mutation ({headers} headers): {failure}")
            return 0
        return count


def main(build: str, *words: str) -> int:
    """Check every mutation; 0 if all were noticed."""
    table = load_mutations(ROOT / "ci" / "mutations.toml")
    chosen = [entry for entry in table if not words or any(word in entry.name for word in words)]
    count = 0
    for headers in ("genuine", "ablated"):
        if entries := [entry for entry in chosen if entry.headers == headers]:
            count += check_all(Path(build).resolve(), headers, entries)
    print(f"{count} of {len(chosen)} mutations noticed")
    return 0 if chosen and count == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
