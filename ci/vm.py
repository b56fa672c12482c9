"""Boot a virtual machine with disks that take FUA and disks that do not, and ask fuaio there.

  run      runs COMMAND in the machine of a suite, with fuaio on its PYTHONPATH; prints what it
           printed and exits with its status; 124 if the time was over, 125 if the machine ended
           without an answer
  truth    prints fuaio's verdicts beside what the disks were seen to be asked for, for each kernel,
           disk, file system, engine and kind of write; exits 1 if one is wrong
  powercut lets power cuts happen at every acknowledgement, and exits 1 if an acknowledged byte is
           lost

The wheel that goes in is built by ci/wheels, or given by --wheel. Exits 2 where something is
missing here, 3 where a suite is unreachable.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from guest_devices import DEVICES, FILE_SYSTEMS
from vm_broken import BROKEN, broken_wheel
from vm_broken import CELLS as BROKEN_CELLS
from vm_machine import CACHE, ROOT, SUITES, Result, VmError, boot, image_of, machine_folder, payload
from vm_truth import Cell, count, lines, read_cells, right

GUEST = [
    *sorted((ROOT / "ci").glob("guest_*.py")),
    *(ROOT / "ci" / name for name in ("powercut_work.py", "powercut_write.py")),
]
ENGINES = ("io_uring", "linux_aio", "threads")
LOGGED = ("raw", "ext4", "xfs", "btrfs", "btrfs-nodatacow")
WAYS = ("fua", "write_then_flush", "group_flush")
LIMIT_S = 1500.0
LEAST_CELLS = 100
CHECKS_AT_ONCE = 4  # for each processor


def wheel_of(given: str | None) -> Path:
    """Return the wheel that runs on every suite."""
    if given is not None:
        return Path(given)
    subprocess.run([ROOT / "ci" / "wheels", "build"], check=True, stdout=sys.stderr)
    return next((ROOT / "build" / "wheels" / "dist").glob("*.whl"))


@contextmanager
def in_machine(
    suite: str, wheel: Path, command: str, limit_s: float
) -> Iterator[tuple[Result, Path]]:
    """Run a shell's *command* in a machine of *suite*; give the folder with its disks too."""
    image = image_of(suite)
    with machine_folder() as folder:
        disk = folder / "payload.img"
        payload(wheel, image.python, GUEST, command, disk)
        result = boot(image, disk, folder, limit_s)
        shutil.copyfile(folder / "console", CACHE / f"{suite}.console")
        yield result, folder


def run(arguments: argparse.Namespace) -> int:
    """Run a command, and show what it says."""
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    command = shlex.join(words)
    wheel = wheel_of(arguments.wheel)
    with in_machine(arguments.suite, wheel, command, arguments.limit) as (result, _):
        sys.stdout.write(result.output)
        sys.stderr.write(result.errors)
        return result.code


def truth(arguments: argparse.Namespace) -> int:
    """Show the truth table."""
    for cell in arguments.only or ():
        device, _, kind = cell.partition("/")
        if device not in DEVICES or kind not in FILE_SYSTEMS:
            raise VmError(f"{cell} is no DEVICE/FILE_SYSTEM such as nvme/xfs")
    wheel = wheel_of(arguments.wheel)
    cells = []
    failed = False
    for suite in arguments.suite or SUITES:
        which = arguments.only or ["small" if arguments.small else "all"]
        command = shlex.join(["python3", "guest_truth.py", *which])
        with in_machine(suite, wheel, command, arguments.limit) as (result, _):
            cells += read_cells(suite, result.output)
            failed = failed or not has_ended_well(suite, result)
    for line in lines(cells):
        print(line)
    print(f"\n{count(cells)}")
    for cell in cells:
        if cell.result == "WRONG":
            print(f"WRONG: {cell.suite}: {cell.told}", file=sys.stderr)
    least = 1 if arguments.small or arguments.only else LEAST_CELLS
    return 0 if is_enough(cells, least) and not failed else 1


def is_enough(cells: Sequence[Cell], least: int) -> bool:
    """Return whether so many verdicts were seen to hold, and none not to."""
    return right(cells) >= least and not any(cell.result == "WRONG" for cell in cells)


def has_ended_well(suite: str, result: Result) -> bool:
    """Return whether the command ended with 0; say what it said if not."""
    if result.code:
        print(f"{suite}: ended with {result.code}: {result.errors}", file=sys.stderr)
    return result.code == 0


def powercut(arguments: argparse.Namespace) -> int:
    """Show what is left after power cuts."""
    suite, steps = arguments.suite, str(arguments.steps)
    if arguments.steps < 1:
        raise VmError("--steps has to be 1 at least, or nothing would be looked at")
    is_broken = arguments.broken is not None
    chosen = arguments.only or (list(BROKEN_CELLS) if is_broken else [])
    for cell in chosen:
        if cell not in map("/".join, product(ENGINES, LOGGED, (*WAYS, "none"))):
            raise VmError(f"{cell} is no ENGINE/WHAT/WAY such as io_uring/ext4/fua")
    chosen = chosen or ["/".join(words) for words in product(ENGINES, LOGGED, WAYS)]
    wheel = broken_wheel(arguments.broken or BROKEN) if is_broken else wheel_of(arguments.wheel)
    command = shlex.join(["python3", "guest_powercut.py", steps, *chosen])
    with in_machine(suite, wheel, command, arguments.limit) as (result, folder):
        if not has_ended_well(suite, result):
            return 1
        rows = after_power_cuts(result.output.splitlines(), folder, steps)
    print("| on | engine | way | power cuts | blocks compared | lost |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        names = ("what", "engine", "way", "marks", "compared", "lost")
        print(f"| {' | '.join(str(row[name]) for name in names)} |")
        if not is_broken:
            for lost in row["shown"]:
                print(f"{row['what']}/{row['engine']}/{row['way']}: {lost}", file=sys.stderr)
    if len(rows) != len(chosen):
        print(f"{len(rows)} cells of {len(chosen)} were checked", file=sys.stderr)
        return 1
    lost = [bool(row["lost"]) for row in rows]
    return 0 if (all(lost) if is_broken else not any(lost)) else 1


def after_power_cuts(cells: Sequence[str], folder: Path, steps: str) -> list[dict[str, Any]]:
    """Replay the logs in a machine's *folder*, side by side: mounting is mostly waiting."""
    # What one mounts goes with it, and it goes with this process. /mnt is there everywhere.
    command = ["unshare", "--mount", "setpriv", "--pdeathsig", "KILL", sys.executable]
    command += [str(ROOT / "ci" / "powercut_check.py"), str(folder / "log.img"), "/mnt", steps]
    at_once = CHECKS_AT_ONCE * (os.cpu_count() or 1)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        checks = []
        for number in range(at_once):
            given, found = folder / f"check-{number}.cells", folder / f"check-{number}.rows"
            given.write_text("".join(f"{cell}\n" for cell in cells[number::at_once]))
            with given.open() as stdin, found.open("w") as stdout:
                check = stack.enter_context(subprocess.Popen(command, stdin=stdin, stdout=stdout))
            stack.callback(check.kill)
            checks.append((check, found))
        for check, found in checks:
            check.wait()
            rows += map(json.loads, found.read_text().splitlines())
    return sorted(rows, key=lambda row: row["start"])


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "ci/vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="run|truth|powercut")
    runner = commands.add_parser("run")
    runner.add_argument("suite", choices=SUITES)
    runner.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    runner.set_defaults(do=run)
    table = commands.add_parser("truth")
    table.add_argument("--suite", action="append", choices=SUITES)
    table.add_argument("--small", action="store_true", help="two disks, three file systems")
    table.add_argument(
        "--only", action="append", metavar="DEVICE/FILE_SYSTEM", help="nvme/btrfs, and so on"
    )
    table.set_defaults(do=truth)
    cuts = commands.add_parser("powercut")
    cuts.add_argument("--suite", choices=SUITES, default=SUITES[0])
    cuts.add_argument("--only", action="append", metavar="ENGINE/WHAT/WAY", help="io_uring/raw/fua")
    cuts.add_argument("--steps", type=int, default=1000, help="power cuts of each cell, 1 or more")
    cuts.add_argument(
        "--broken",
        nargs="*",
        metavar="NAME",
        help="of a build with these entries of ci/mutations.toml, else with those that leave no "
        "durable write: all must lose",
    )
    cuts.set_defaults(do=powercut)
    for command in (runner, table, cuts):
        command.add_argument("--wheel", help="this one, in place of what ci/wheels builds")
        command.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for a machine")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Do what the words say."""
    arguments = parsed(words)
    # As Ctrl-C does, so that no folder of a machine is left.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        code: int = arguments.do(arguments)
    except VmError as error:
        print(f"ci/vm: {error}", file=sys.stderr)
        return error.status
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
