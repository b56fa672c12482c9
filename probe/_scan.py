"""The build probe asked of other places, without building fuaio: a column for each."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

import msgspec

from fuaio import __version__
from fuaio.probe._child import run_child
from fuaio.probe._compiler import PlaceError
from fuaio.probe._place import Place, prepare
from fuaio.probe._record import SCHEMA_VERSION, Report, ReportError, decode_report
from fuaio.probe._table import Row

# A place keeps one processor busy.
_AT_ONCE = 2
# Generous for a slow machine, but not for ever: a header may include a FIFO.
_PATIENCE_S, _PATIENCE_PER_ROW_S = 300.0, 2.0
_OLDEST_MESON = (1, 7)
_PROJECT = """\
project('scan', version: '{version}', meson_version: '>=1.7', default_options: ['c_std=gnu11'])
# Not for the machine that builds: a compiler for that is not asked for.
add_languages('c', native: false)
subdir('symbols')
"""
# Paths that a .pc file, a list of arguments and Meson take as they are.
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")


_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


class ScanError(Exception):
    """No place can be asked; the message is one line that says what to do."""


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one place answered: a report of the section build, or why there is none."""

    place: str
    report: Report | None = None
    error: str | None = None


class Scan(msgspec.Struct, frozen=True):
    """What the places answered, in the order in which they were named."""

    schema_version: str
    fuaio_version: str
    places: list[Column]


async def scan(places: Sequence[Place], rows: tuple[Row, ...] | None = None) -> Scan:
    """Ask each of *places* for *rows*, or else for what fuaio itself asks.

    Nothing of a place is run, and nothing stays behind, also when this is cancelled.

    Raises:
        ScanError: Meson is missing or too old, or there is no room for temporary files.
    """
    folder = _temporary_folder()
    try:
        meson = await _find_meson(folder)
        turns = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_ask(place, rows, meson, folder / str(number), turns))
                for number, place in enumerate(places)
            ]
        columns = [task.result() for task in tasks]
    except BaseExceptionGroup as group_of_errors:
        # The first has ended the others; who reads of it is told of that one, and where.
        raise group_of_errors.exceptions[0] from None
    finally:
        _remove(folder)
    return Scan(SCHEMA_VERSION, __version__, columns)


async def _ask(
    place: Place,
    rows: tuple[Row, ...] | None,
    meson: list[str],
    folder: Path,
    turns: asyncio.Semaphore,
) -> Column:
    async with turns:
        label = _unicode(place.label)
        try:
            folder.mkdir()
            data = await _configure(place, rows, meson, folder)
            # A place is called by the name that its caller knows. What a header says in an #error
            # may have control characters, which Meson copies as they are.
            given = msgspec.json.encode(_unicode(place.given))[1:-1]
            data = re.sub(rb"[\x00-\x1f]+", b" ", data)
            report = decode_report(data.replace(str(folder / "place").encode(), given))
        except PlaceError as error:
            return Column(label, error=_line(str(error), folder, place))
        except ReportError as error:
            return Column(label, error=f"what the probe wrote cannot be read: {error}")
        except OSError as error:
            return Column(label, error=_line(_fault(error, folder), folder, place))
        return Column(label, report=report)


async def _configure(
    place: Place, rows: tuple[Row, ...] | None, meson: list[str], folder: Path
) -> bytes:
    """Let Meson ask the place; return the report that it wrote."""
    source, build = folder / "source", folder / "build"
    probe = files("fuaio.probe") / "symbols"
    _copy(probe, source / "symbols")
    table = source / "symbols/table/meson.build"
    question = await prepare(place, rows, table.read_text(), folder)
    table.write_text(question.table)
    (source / "meson.build").write_text(_PROJECT.format(version=__version__))
    shutil.move(source / "symbols/meson_options.txt", source)
    crosses = [word for file in question.cross_files for word in ("--cross-file", str(file))]
    command = [*meson, "setup", "--backend=none", *crosses, str(build), str(source)]
    patience_s = _PATIENCE_S + _PATIENCE_PER_ROW_S * len(rows or ())
    try:
        async with asyncio.timeout(patience_s):
            code, output = await run_child(command, folder, question.environment)
    except TimeoutError:
        raise PlaceError(
            f"no answer within {patience_s:.0f} s; does a header include what never ends, "
            "as a FIFO or a device?"
        ) from None
    if code != 0:
        if os.strerror(errno.ENOSPC) in output:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise PlaceError(_complaint(output, build / "meson-logs/meson-log.txt"))
    try:
        return (build / "symbols/build.json").read_bytes()
    except FileNotFoundError:
        raise PlaceError(
            f"Meson wrote no answer, though it ended well; is {shlex.join(meson)} a Meson?"
        ) from None


def _complaint(output: str, log: Path) -> str:
    """Return what Meson says went wrong, of all that it says."""
    _, is_error, said = output.rpartition("ERROR: ")
    if is_error:
        # It may go on in more lines, up to an empty one.
        message = re.split(r"\n[ \t]*\n", said)[0].strip()
    else:
        message = (said.strip().splitlines() or ["Meson does not say why"])[-1].strip()
    if message.startswith("Unhandled python exception"):
        raised = re.findall(r"(?m)^(?:\w+\.)*\w+(?:Error|Exception)\b.*$", output)
        message = f"Meson fails: {raised[-1]}" if raised else message
    elif message.endswith("cannot compile programs.") and log.is_file():
        errors = re.findall(r"(?m)^.*\berror: .*$", log.read_text(errors="replace"))
        message += f" {errors[0].strip()}" if errors else ""
    return message


def _fault(error: OSError, folder: Path) -> str:
    """Say what failed and where; in the place's temporary *folder* another would help."""
    why = error.strerror or str(error)
    if error.errno in _OF_THE_MACHINE:
        return f"{why}; try again when less is running, or with fewer places"
    at = error.filename
    # What is written tells no name.
    if at is None or Path(os.fsdecode(at)).is_relative_to(folder):
        parent = folder.parent.parent
        return f"the temporary folder {parent}: {why}; set TMPDIR to a folder with room"
    return f"{os.fsdecode(at)}: {why}"


def _line(message: str, folder: Path, place: Place) -> str:
    """Return *message* in one line, without the names of our temporary files."""
    message = message.replace(str(folder / "place"), place.given).replace(f"{folder}/", "")
    return " ".join(_unicode(message).split())


def _unicode(text: str) -> str:
    """Paths may hold bytes that are no UTF-8 (surrogates in Python); JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


async def _find_meson(folder: Path) -> list[str]:
    """Return the command of a Meson that is new enough: this Python's, else that on PATH."""
    commands = []
    if find_spec("mesonbuild") is not None:
        commands.append([sys.executable, "-m", "mesonbuild.mesonmain"])
    on_path = shutil.which("meson")
    if on_path is not None:
        commands.append([str(Path(on_path).absolute())])
    install = "install one: pip install 'fuaio[scan]', or Debian's package meson (13 or newer)"
    seen = []
    for command in commands:
        code, output = await run_child([*command, "--version"], folder, os.environ)
        version = re.match(r"([0-9]+)\.([0-9]+)", output)
        if code == 0 and version is not None:
            if (int(version[1]), int(version[2])) >= _OLDEST_MESON:
                return command
            seen.append(output.split()[0])
    if seen:
        raise ScanError(f"Meson {seen[0]} is too old, the probe needs 1.7; {install}")
    raise ScanError(f"there is no Meson, neither in this Python nor on PATH; {install}")


def _temporary_folder() -> Path:
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):
        if _PLAIN.fullmatch(parent):
            try:
                return Path(tempfile.mkdtemp(prefix="fuaio-scan-", dir=parent))
            except OSError:
                continue
    raise ScanError("no temporary folder can be made; set TMPDIR to a folder with a plain name")


def _copy(source: Traversable, target: Path) -> None:
    """Copy the probe from wherever the package lies, which an editable one tells piecewise."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.is_dir():
            _copy(entry, target / entry.name)
        else:
            (target / entry.name).write_bytes(entry.read_bytes())


def _remove(folder: Path) -> None:
    """A program that was killed may still be at its last file."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.05)  # nothing tells that the process is gone: it is not our child
