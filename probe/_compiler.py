"""A C compiler that is asked for its machine; nothing that it makes is run."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fuaio.probe._child import run_child

# A compiler that says nothing for so long says nothing at all.
_PATIENCE_S = 60.0

_FAMILIES = {
    "__x86_64__": "x86_64",
    "__i386__": "x86",
    "__aarch64__": "aarch64",
    "__arm__": "arm",
    "__powerpc64__": "ppc64",
    "__powerpc__": "ppc",
    "__s390x__": "s390x",
    "__mips64": "mips64",
    "__mips__": "mips",
    "__loongarch64": "loongarch64",
    "__sparc_v9__": "sparc64",
}
_SYSTEMS = {"__linux__": "linux", "_WIN32": "windows", "__APPLE__": "darwin"}


class PlaceError(Exception):
    """A place cannot be asked; the message is one line for its column."""


class Compiler(NamedTuple):
    """A compiler that works so far: its command, what it calls its machine, what it predefines."""

    command: tuple[str, ...]
    machine: str
    macros: Mapping[str, str]

    @property
    def family(self) -> str:
        """The processor family, by Meson's name for it."""
        for macro, family in _FAMILIES.items():
            if macro in self.macros:
                return family
        if "__riscv" in self.macros:
            return "riscv" + self.macros.get("__riscv_xlen", "64")
        return self.machine.partition("-")[0]

    @property
    def is_clang(self) -> bool:
        """Whether it is clang, by whatever name."""
        return "__clang__" in self.macros

    @property
    def folder(self) -> str:
        """The name of the folders that Debian keeps for this machine: x86_64-linux-gnu."""
        processor, *rest = self.machine.split("-")
        processor = {"x86": "i386"}.get(self.family, processor)
        return "-".join([processor, *rest[-2:]])

    def host_machine(self) -> dict[str, str]:
        """Return the section of a cross file that describes its machine."""
        system = next((name for macro, name in _SYSTEMS.items() if macro in self.macros), "none")
        order = self.macros["__BYTE_ORDER__"].removeprefix("__ORDER_")
        return {
            "system": system,
            "cpu_family": self.family,
            "cpu": self.machine.partition("-")[0] or self.family,
            "endian": order.partition("_")[0].lower(),
        }


def split_command(text: str) -> tuple[str, ...]:
    """Split the words of a compiler's command as a shell does, and find its program.

    Raises:
        PlaceError: It is no command, or there is no such program.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise PlaceError(f"the compiler {text!r} is no command: {error}") from None
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise PlaceError(f"there is no compiler {(words or [''])[0]!r} that can be run")
    return (str(Path(program).absolute()), *words[1:])


async def ask_compiler(
    command: tuple[str, ...], folder: Path, environment: Mapping[str, str]
) -> Compiler:
    """Ask for machine and macros; *folder* takes the empty source that this needs.

    Raises:
        PlaceError: It does not work.
    """
    source = folder / "empty.c"
    source.write_text("")
    asked = []
    for question in (("-dumpmachine",), ("-E", "-dM", str(source))):
        try:
            async with asyncio.timeout(_PATIENCE_S):
                code, output = await run_child([*command, *question], folder, environment)
        except TimeoutError:
            raise PlaceError(f"{_name(command)} does not end within {_PATIENCE_S:.0f} s") from None
        except OSError as error:
            raise PlaceError(f"{_name(command)} cannot be run: {error.strerror}") from None
        if code != 0:
            said = next((line.strip() for line in output.splitlines() if line.strip()), "")
            why = f"it says: {said}" if said else f"it exits with {code}"
            raise PlaceError(f"{_name(command)} does not work as a C compiler; {why}")
        asked.append(output)
    machine, defined = asked
    macros = dict(re.findall(r"(?m)^#define (\w+) ?(.*)$", defined))
    if "__BYTE_ORDER__" not in macros:
        raise PlaceError(f"{_name(command)} is no C compiler: it does not tell its byte order")
    word = re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", machine.strip())
    return Compiler(command, word[0] if word else "", macros)


def _name(command: tuple[str, ...]) -> str:
    return shlex.join([Path(command[0]).name, *command[1:]])
