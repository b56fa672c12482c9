"""Runs of Meson on the build probe, each in a folder of its own, and what they answered.

The probe is taken as another project takes it, as a subproject made of copies of the files that it
needs. That other project asks the same headers with a plain ``has_header_symbol`` first: the naive
answer to compare with.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from needs import need_command

SOURCE = Path(__file__).parents[2]
# A build of the tests' own is not to be changed by what the caller builds with.
OF_THE_CALLER = ("CFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH", "LD_LIBRARY_PATH")
# What lies in the root and is no source; .gitignore has the same.
NOT_SOURCE = (
    *(".git", "build", "build-*", "builddir", "dist", "wheelhouse"),
    *(".venv*", ".*_cache", ".hypothesis"),
)

PARENT = """
project('parent', 'c', meson_version: '>=1.7')
cc = meson.get_compiler('c')
foreach header, symbol : {
  'libaio.h': 'io_prep_pwritev2',
  'liburing.h': 'io_uring_prep_writev2',
  'sys/uio.h': 'pwritev2',
}
  message('naive @0@ @1@'.format(symbol, cc.has_header_symbol(header, symbol)))
endforeach
fuaio = subproject('fuaio')
library = static_library(
  'uses_the_answers',
  'uses.c',
  include_directories: fuaio.get_variable('config_inc'),
  c_args: fuaio.get_variable('probe_args'),
  dependencies: [fuaio.get_variable('libaio_dep'), fuaio.get_variable('liburing_dep')],
)
"""

# Compiles only if the answers are true of the headers that the code gets. As the core does, it
# gives a helper that is said to be missing another type.
USES = """
#include "config.h"

struct probe_said_no { int x; };
#if HAVE_LIBAIO
#include <libaio.h>
#if HAVE_IO_PREP_PWRITEV2
void *use_libaio(void) { return (void *)io_prep_pwritev2; }
#else
struct probe_said_no io_prep_pwritev2(void);
#endif
#endif
#if HAVE_LIBURING
#include <liburing.h>
#if HAVE_IO_URING_PREP_WRITEV2
void *use_liburing(void) { return (void *)io_uring_prep_writev2; }
#else
struct probe_said_no io_uring_prep_writev2(void);
#endif
#endif
"""


def tool(name: str) -> str:
    """Give the path of a Python tool: that of this environment, else that on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else need_command(name, name)


def run(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run *command* without the caller's build flags and with those of *env*."""
    environment = {key: value for key, value in os.environ.items() if key not in OF_THE_CALLER}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**environment, "LC_ALL": "C.UTF-8", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def succeed(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run *command*, which has to succeed, and give what it printed."""
    result = run(*command, cwd=cwd, env=env)
    assert result.returncode == 0, result.stdout
    return result.stdout


def copy_source(folder: Path) -> Path:
    """Copy the whole source into *folder*, without what was built there."""

    def ignored(path: str, names: list[str]) -> set[str]:
        patterns = NOT_SOURCE if Path(path) == SOURCE else ("__pycache__", ".*_cache")
        return {name for pattern in patterns for name in fnmatch.filter(names, pattern)}

    shutil.copytree(SOURCE, folder, ignore=ignored)
    return folder


@dataclass(frozen=True)
class Answers:
    """What one configure said."""

    failed: bool
    output: str
    naive: Mapping[str, bool]
    facts: Mapping[str, Mapping[str, object]]
    config: Mapping[str, int]

    def of(self, name: str) -> str:
        """Give state and reason of the fact *name*, as ``"no symbol-missing"``."""
        fact = self.facts[name]
        return f"{fact['state']} {fact['reason']}"

    def detail(self, name: str) -> str:
        """Give the detail of the fact *name*."""
        return str(self.facts[name]["detail"])

    @property
    def error(self) -> str:
        """The message that ended the configure, as one line."""
        assert self.failed, self.output
        return " ".join(self.output.partition("ERROR: ")[2].partition("\n\n")[0].split())


class Probe:
    """The build probe as a subproject, in *folder*."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = dict(env)
        self.build = folder / "build"
        fuaio = folder / "subprojects" / "fuaio"
        shutil.copytree(SOURCE / "probe" / "symbols", fuaio / "probe" / "symbols")
        for name in ("meson.build", "meson_options.txt", "LICENSE"):
            shutil.copy(SOURCE / name, fuaio / name)
        (folder / "meson.build").write_text(PARENT)
        (folder / "uses.c").write_text(USES)

    def configure(self, *arguments: str, **env: str) -> Answers:
        """Set up the build folder, with *arguments* such as ``-Dfuaio:libaio=enabled``."""
        self.env.update(env)
        return self._setup(self.folder, self.build, *arguments)

    def reconfigure(self, *arguments: str) -> Answers:
        """Ask again in the same build folder."""
        return self._setup("--reconfigure", self.build, *arguments)

    def compile(self) -> subprocess.CompletedProcess[str]:
        """Compile the code that is right only if the answers are."""
        return run(tool("ninja"), "-C", self.build, cwd=self.folder, env=self.env)

    def build_json(self) -> str:
        """Give the text of the report's build section."""
        return self._result("build.json").read_text()

    def _result(self, name: str) -> Path:
        return self.build / "subprojects" / "fuaio" / "probe" / "symbols" / name

    def _setup(self, *arguments: str | Path) -> Answers:
        # A build folder keeps the answers of the last run that succeeded.
        for name in ("build.json", "config.h"):
            self._result(name).unlink(missing_ok=True)
        result = run(tool("meson"), "setup", *arguments, cwd=self.folder, env=self.env)
        naive = re.findall(r"naive (\w+) (true|false)", result.stdout)
        facts, config = {}, {}
        if result.returncode == 0:
            section = json.loads(self.build_json())["sections"]["build"]
            facts = {fact["name"]: fact for fact in section}
            defined = re.findall(r"#define (\w+) (\d+)", self._result("config.h").read_text())
            config = {name: int(value) for name, value in defined}
        return Answers(
            failed=result.returncode != 0,
            output=result.stdout,
            naive={name: value == "true" for name, value in naive},
            facts=facts,
            config=config,
        )
